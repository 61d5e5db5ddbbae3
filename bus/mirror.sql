-- What a mirror keeps besides the events: where each stands in the topics it was copied from.

-- next_offset is where to read on; last_offset and digest are of the last record copied.
CREATE TABLE mirrored (
    topic       TEXT NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    last_offset INTEGER,
    digest      BLOB,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- Runs of events that stand one behind the other here and there.
CREATE TABLE origins (
    first_seq    INTEGER PRIMARY KEY,
    topic        TEXT NOT NULL,
    partition    INTEGER NOT NULL,
    first_offset INTEGER NOT NULL
);
