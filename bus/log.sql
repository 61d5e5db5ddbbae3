-- The embedded log. Append-only: the one file of a ledger that must never be lost.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- What is constant for one writer to one partition.
CREATE TABLE sources (
    source_no INTEGER PRIMARY KEY,
    source    TEXT NOT NULL UNIQUE,
    actor     TEXT NOT NULL,
    actorkind TEXT NOT NULL,
    host      TEXT NOT NULL,
    client    TEXT NOT NULL,
    rules     INTEGER NOT NULL,
    workspace TEXT NOT NULL
);

-- The Avro schema of each structure in this log; header is the single-object header of 10 bytes.
CREATE TABLE schemas (
    schema_no INTEGER PRIMARY KEY,
    header    BLOB NOT NULL UNIQUE,
    type      TEXT NOT NULL
);

-- seq is the offset. head is the structure without its header; extra holds, as JSON, envelope
-- attributes that differ from the source's or are rare, and the digest of a redacted content.
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY,
    source_no INTEGER NOT NULL REFERENCES sources,
    id        INTEGER NOT NULL,
    schema_no INTEGER NOT NULL REFERENCES schemas,
    time_ms   INTEGER NOT NULL,
    append_ms INTEGER NOT NULL,
    subject   TEXT NOT NULL,
    head      BLOB NOT NULL,
    content   BLOB,
    extra     TEXT
);
