-- What waits on this host to be sent to a log. Nothing else holds these events until they are sent.

-- 'last' is the highest number that was given, where its record is no longer there to tell.
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO meta VALUES ('last', 0);

-- Numbers are given once and without gaps, and records leave from the front only. writer marks the
-- process that spooled a record; through_bytes is the size of all that stood before it when it
-- came, and its own: so count and size of all that waits follow from the first and the last row.
-- said is, as JSON in ASCII, partition, key and envelope; crc is over said, head, content and
-- content_digest.
CREATE TABLE waiting (
    number         INTEGER PRIMARY KEY,
    writer         INTEGER NOT NULL,
    spooled_ms     INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    through_bytes  INTEGER NOT NULL,
    crc            INTEGER NOT NULL,
    said           TEXT NOT NULL,
    head           BLOB NOT NULL,
    content        BLOB,
    content_digest BLOB
);

-- What the log will never take: kept, with what it said, until someone decides.
CREATE TABLE refused (
    number         INTEGER PRIMARY KEY,
    writer         INTEGER NOT NULL,
    spooled_ms     INTEGER NOT NULL,
    size_bytes     INTEGER NOT NULL,
    crc            INTEGER NOT NULL,
    said           TEXT NOT NULL,
    head           BLOB NOT NULL,
    content        BLOB,
    content_digest BLOB,
    refused_ms     INTEGER NOT NULL,
    error          TEXT NOT NULL
);
