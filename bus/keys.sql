-- The keys of a ledger in Kafka whose contents can be erased, as one host has them.

-- 'next': where to read on in the topic of the keys; 'generation' grows when keys are lost.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

INSERT INTO meta VALUES ('next', '0'), ('generation', '0');

-- sent is 0 until the topic has the key: nothing that is sealed with it may be sent before.
CREATE TABLE keys (
    key_id  TEXT PRIMARY KEY,
    subject TEXT NOT NULL,
    key     BLOB NOT NULL,
    sent    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX keys_by_subject ON keys (subject);

-- Keys that a redaction has named: they open nothing any more, and never come back.
CREATE TABLE lost (
    key_id TEXT PRIMARY KEY
) WITHOUT ROWID;

-- Redactions by their offset in the catalog; done is 0 while something of it may be on this host.
CREATE TABLE redactions (
    place INTEGER PRIMARY KEY,
    done  INTEGER NOT NULL
);

-- Keys that this host takes out of the topic once their redaction stands in the log.
CREATE TABLE tombstones (
    key_id TEXT PRIMARY KEY
) WITHOUT ROWID;

-- What hosts have said of their replicas, as JSON.
CREATE TABLE replicas (
    replica_id TEXT PRIMARY KEY,
    said       TEXT NOT NULL
) WITHOUT ROWID;
