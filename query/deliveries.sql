-- How far each webhook has got: a fold of the log by the bridge, and what became of deliveries.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The highest id seen of each source: what repeats an earlier record is not told twice.
CREATE TABLE sources (source TEXT PRIMARY KEY, highest INTEGER NOT NULL) WITHOUT ROWID;

-- Registered models, and webhooks, as they stood behind the last event that was routed.
CREATE TABLE models (
    uid      TEXT PRIMARY KEY,
    prompt   INTEGER NOT NULL,
    versions INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE webhooks (
    webhook_id TEXT PRIMARY KEY,
    workspace  TEXT NOT NULL,
    status     TEXT NOT NULL,
    actions    TEXT NOT NULL
) WITHOUT ROWID;

-- What a webhook is still to be told: place is the event's offset in its partition.
CREATE TABLE due (
    webhook_id TEXT NOT NULL,
    place      INTEGER NOT NULL,
    action     TEXT NOT NULL,
    prompt     INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    append_ms  INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, place)
) WITHOUT ROWID;

-- What a webhook did not take at last, and since when.
CREATE TABLE failing (
    webhook_id TEXT PRIMARY KEY,
    place      INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    since_ms   INTEGER NOT NULL,
    error      TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE given_up (
    webhook_id TEXT NOT NULL,
    place      INTEGER NOT NULL,
    action     TEXT NOT NULL,
    prompt     INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    append_ms  INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    error      TEXT NOT NULL,
    PRIMARY KEY (webhook_id, place)
) WITHOUT ROWID;
