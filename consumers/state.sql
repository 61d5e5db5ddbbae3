-- The keyed state: a fold of the log, deletable at any time. Numbers that end in _no are local to
-- this file; they never stand in a digest or an answer.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- How far each partition is folded: the next offset, and the digest of the last event.
CREATE TABLE progress (
    topic     TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next      INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

CREATE TABLE sources (
    source_no INTEGER PRIMARY KEY,
    source    TEXT NOT NULL UNIQUE
);

-- Every identity folded, with the first 8 bytes of its digest: a second delivery is dropped, a
-- second digest is a conflict.
CREATE TABLE identities (
    source_no INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    digest    BLOB NOT NULL,
    PRIMARY KEY (source_no, id)
) WITHOUT ROWID;

-- What the fold refused, and what it could not read; kept for the audit.
CREATE TABLE rejections (
    source  TEXT NOT NULL,
    id      INTEGER NOT NULL,
    digest  BLOB NOT NULL,
    type    TEXT NOT NULL,
    subject TEXT NOT NULL,
    code    TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (source, id, digest)
) WITHOUT ROWID;

-- What analytics has to look at again, in order of folding; trimmed below the oldest snapshot.
CREATE TABLE changes (
    seq     INTEGER PRIMARY KEY,
    touched TEXT NOT NULL
);

CREATE TABLE experiments (
    experiment_id     INTEGER PRIMARY KEY,
    workspace         TEXT NOT NULL,
    name              TEXT,
    artifact_location TEXT NOT NULL,
    lifecycle         TEXT NOT NULL,
    epoch             INTEGER NOT NULL,
    epoch_ms          INTEGER NOT NULL,
    created_ms        INTEGER NOT NULL,
    updated_ms        INTEGER NOT NULL,
    UNIQUE (workspace, name)
);

CREATE TABLE experiment_tags (
    experiment_id INTEGER NOT NULL,
    key           TEXT NOT NULL,
    value         TEXT,
    PRIMARY KEY (experiment_id, key)
) WITHOUT ROWID;

CREATE TABLE runs (
    run_no        INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id        TEXT NOT NULL UNIQUE,
    experiment_id INTEGER NOT NULL,
    name          TEXT,
    user_id       TEXT,
    status        TEXT NOT NULL,
    start_ms      INTEGER,
    end_ms        INTEGER,
    artifact_uri  TEXT NOT NULL,
    lifecycle     TEXT NOT NULL,
    epoch         INTEGER NOT NULL,
    deleted_ms    INTEGER
);

CREATE INDEX runs_by_experiment ON runs (experiment_id);

-- A run as it is: it follows its experiment's last delete or restore unless its own came later.
CREATE VIEW live_runs AS
SELECT run_no, run_id, experiment_id, r.name, user_id, status, start_ms, end_ms, artifact_uri,
    CASE WHEN e.epoch > r.epoch THEN e.lifecycle ELSE r.lifecycle END AS lifecycle,
    CASE WHEN e.epoch > r.epoch
        THEN CASE e.lifecycle WHEN 'deleted' THEN e.epoch_ms END
        ELSE r.deleted_ms
    END AS deleted_ms,
    e.epoch AS experiment_epoch
FROM runs r JOIN experiments e USING (experiment_id)
WHERE e.lifecycle <> 'purged';

CREATE TABLE params (
    run_no INTEGER NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    PRIMARY KEY (run_no, key)
) WITHOUT ROWID;

CREATE TABLE tags (
    run_no INTEGER NOT NULL,
    key    TEXT NOT NULL,
    value  TEXT,
    PRIMARY KEY (run_no, key)
) WITHOUT ROWID;

CREATE INDEX tags_by_parent ON tags (value) WHERE key = 'mlflow.parentRunId';

-- The latest value of each metric: the largest (step, timestamp, value), then the first in the log.
CREATE TABLE metrics (
    run_no       INTEGER NOT NULL,
    key          TEXT NOT NULL,
    value        REAL NOT NULL,
    is_nan       INTEGER NOT NULL,
    timestamp_ms INTEGER NOT NULL,
    step         INTEGER NOT NULL,
    PRIMARY KEY (run_no, key)
) WITHOUT ROWID;

CREATE TABLE metric_keys (
    key_no INTEGER PRIMARY KEY,
    key    TEXT NOT NULL UNIQUE
);

-- The history: per run, metric and event one chunk of n times i64 timestamps, then n i64 steps,
-- then n f64 values, little-endian; NaN stands as itself.
CREATE TABLE metric_chunks (
    run_no INTEGER NOT NULL,
    key_no INTEGER NOT NULL,
    seq    INTEGER NOT NULL,
    points BLOB NOT NULL,
    PRIMARY KEY (run_no, key_no, seq)
) WITHOUT ROWID;

-- A data set as the earliest event (time, source, id) of its experiment has described it.
CREATE TABLE datasets (
    experiment_id  INTEGER NOT NULL,
    name           TEXT NOT NULL,
    digest         TEXT NOT NULL,
    source_type    TEXT NOT NULL,
    source         TEXT,
    dataset_schema TEXT,
    profile        TEXT,
    time_ms        INTEGER NOT NULL,
    event_source   TEXT NOT NULL,
    event_id       INTEGER NOT NULL,
    PRIMARY KEY (experiment_id, name, digest)
) WITHOUT ROWID;

-- tags is a JSON list of [key, value].
CREATE TABLE run_inputs (
    run_no INTEGER NOT NULL,
    ord    INTEGER NOT NULL,
    name   TEXT NOT NULL,
    digest TEXT NOT NULL,
    tags   TEXT NOT NULL,
    PRIMARY KEY (run_no, name, digest)
) WITHOUT ROWID;

CREATE INDEX run_inputs_by_digest ON run_inputs (digest);
CREATE INDEX run_inputs_by_name ON run_inputs (name);

CREATE TABLE run_model_inputs (
    run_no   INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    ord      INTEGER NOT NULL,
    PRIMARY KEY (run_no, model_id)
) WITHOUT ROWID;

CREATE INDEX run_model_inputs_by_model ON run_model_inputs (model_id);

CREATE TABLE run_model_outputs (
    run_no   INTEGER NOT NULL,
    model_id TEXT NOT NULL,
    ord      INTEGER NOT NULL,
    step     INTEGER NOT NULL,
    PRIMARY KEY (run_no, model_id)
) WITHOUT ROWID;

CREATE INDEX run_model_outputs_by_model ON run_model_outputs (model_id);

CREATE TABLE logged_models (
    logged_model_no   INTEGER PRIMARY KEY AUTOINCREMENT,
    model_id          TEXT NOT NULL UNIQUE,
    experiment_id     INTEGER NOT NULL,
    name              TEXT NOT NULL,
    artifact_location TEXT NOT NULL,
    created_ms        INTEGER NOT NULL,
    updated_ms        INTEGER NOT NULL,
    status            TEXT NOT NULL,
    model_type        TEXT,
    source_run_id     TEXT,
    lifecycle         TEXT NOT NULL
);

CREATE INDEX logged_models_by_experiment ON logged_models (experiment_id);
CREATE INDEX logged_models_by_run ON logged_models (source_run_id);

CREATE TABLE logged_model_params (
    logged_model_no INTEGER NOT NULL,
    key             TEXT NOT NULL,
    value           TEXT NOT NULL,
    PRIMARY KEY (logged_model_no, key)
) WITHOUT ROWID;

CREATE TABLE logged_model_tags (
    logged_model_no INTEGER NOT NULL,
    key             TEXT NOT NULL,
    value           TEXT,
    PRIMARY KEY (logged_model_no, key)
) WITHOUT ROWID;

-- Metrics of runs that name a logged model, which may lie in another partition or not exist.
CREATE TABLE logged_model_metrics (
    model_id       TEXT NOT NULL,
    key            TEXT NOT NULL,
    timestamp_ms   INTEGER NOT NULL,
    step           INTEGER NOT NULL,
    run_id         TEXT NOT NULL,
    value          REAL NOT NULL,
    dataset_name   TEXT,
    dataset_digest TEXT,
    PRIMARY KEY (model_id, key, timestamp_ms, step, run_id)
) WITHOUT ROWID;

CREATE INDEX logged_model_metrics_by_run ON logged_model_metrics (run_id);
CREATE INDEX logged_model_metrics_by_dataset ON logged_model_metrics (dataset_digest)
WHERE dataset_digest IS NOT NULL;

-- They go with the run, and so with its experiment.
CREATE VIEW live_model_metrics AS
SELECT m.* FROM logged_model_metrics m JOIN runs USING (run_id) JOIN experiments e USING (experiment_id)
WHERE e.lifecycle <> 'purged';

-- A description is text, or a blob with the JSON of a claim check.
CREATE TABLE registered_models (
    model_no    INTEGER PRIMARY KEY AUTOINCREMENT,
    uid         TEXT NOT NULL UNIQUE,
    workspace   TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    description TEXT,
    UNIQUE (workspace, name)
);

CREATE TABLE registered_model_tags (
    model_no INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT,
    PRIMARY KEY (model_no, key)
) WITHOUT ROWID;

CREATE TABLE model_aliases (
    model_no INTEGER NOT NULL,
    alias    TEXT NOT NULL,
    version  INTEGER NOT NULL,
    PRIMARY KEY (model_no, alias)
) WITHOUT ROWID;

CREATE TABLE model_versions (
    model_no         INTEGER NOT NULL,
    version          INTEGER NOT NULL,
    uid              TEXT NOT NULL UNIQUE,
    created_ms       INTEGER NOT NULL,
    updated_ms       INTEGER NOT NULL,
    description      TEXT,
    user_id          TEXT,
    stage            TEXT NOT NULL,
    source           TEXT,
    storage_location TEXT,
    run_id           TEXT,
    run_link         TEXT,
    model_id         TEXT,
    PRIMARY KEY (model_no, version)
) WITHOUT ROWID;

CREATE INDEX model_versions_by_run ON model_versions (run_id);
CREATE INDEX model_versions_by_model ON model_versions (model_id);

CREATE TABLE model_version_tags (
    model_no INTEGER NOT NULL,
    version  INTEGER NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT,
    PRIMARY KEY (model_no, version, key)
) WITHOUT ROWID;

-- actions is a JSON list of entity.action; secret is encrypted.
CREATE TABLE webhooks (
    webhook_id  TEXT PRIMARY KEY,
    workspace   TEXT NOT NULL,
    name        TEXT,
    url         TEXT,
    description TEXT,
    secret      TEXT,
    status      TEXT NOT NULL,
    actions     TEXT NOT NULL,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    deleted_ms  INTEGER
) WITHOUT ROWID;

-- A trace by what started it and what its spans tell; started says whether the first is known,
-- generation how often spans of it were logged. details repeats what the other tables hold of it, as
-- one JSON list of tags, metadata and assessments for whoever reads many; nothing where it is long.
CREATE TABLE traces (
    trace_id                              TEXT PRIMARY KEY,
    experiment_id                         INTEGER NOT NULL,
    timestamp_ms                          INTEGER NOT NULL,
    execution_time_ms                     INTEGER,
    status                                TEXT NOT NULL,
    started                               INTEGER NOT NULL,
    client_request_id                     TEXT,
    request_preview                       TEXT,
    response_preview                      TEXT,
    trace_name                            TEXT,
    session_id                            TEXT,
    input_tokens                          INTEGER,
    output_tokens                         INTEGER,
    total_tokens                          INTEGER,
    cache_read_input_tokens               INTEGER,
    cache_creation_input_tokens           INTEGER,
    cache_creation_input_tokens_above_1hr INTEGER,
    input_cost                            REAL,
    output_cost                           REAL,
    total_cost                            REAL,
    generation                            INTEGER NOT NULL DEFAULT 0,
    details                               TEXT
);

-- A trace's row is long, so these hold what is asked most of many, and counted. SQLite would look
-- for single traces in the first, if the second did not answer without the row as well.
CREATE INDEX traces_by_time ON traces (
    experiment_id, timestamp_ms DESC, trace_id, status, session_id, execution_time_ms, trace_name,
    input_tokens, output_tokens, total_tokens, cache_read_input_tokens, cache_creation_input_tokens,
    cache_creation_input_tokens_above_1hr, input_cost, output_cost, total_cost
);
CREATE INDEX traces_by_id ON traces (trace_id, experiment_id, timestamp_ms, status, session_id);
CREATE INDEX traces_by_duration
    ON traces (experiment_id, execution_time_ms, timestamp_ms DESC, trace_id);
CREATE INDEX traces_by_status ON traces (experiment_id, status, timestamp_ms DESC, trace_id);
CREATE INDEX traces_by_session ON traces (experiment_id, session_id);

-- Traces go with their experiment.
CREATE VIEW live_traces AS
SELECT * FROM traces t WHERE EXISTS (
    SELECT 1 FROM experiments e WHERE e.experiment_id = t.experiment_id AND e.lifecycle <> 'purged'
);

CREATE TABLE trace_tags (
    trace_id TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT,
    PRIMARY KEY (trace_id, key)
) WITHOUT ROWID;

CREATE INDEX trace_tags_by_value ON trace_tags (key, value);

CREATE TABLE trace_metadata (
    trace_id TEXT NOT NULL,
    key      TEXT NOT NULL,
    value    TEXT,
    PRIMARY KEY (trace_id, key)
) WITHOUT ROWID;

CREATE INDEX trace_metadata_by_model ON trace_metadata (value) WHERE key = 'mlflow.modelId';

-- text is the whole span in JSON, or a blob with the JSON of a claim check; then excerpt is
-- searched in its place. usage and cost are JSON objects. experiment_id repeats what the trace says.
CREATE TABLE spans (
    trace_id       TEXT NOT NULL,
    span_id        TEXT NOT NULL,
    parent_id      TEXT,
    name           TEXT,
    type           TEXT,
    status         TEXT NOT NULL,
    start_ns       INTEGER NOT NULL,
    end_ns         INTEGER,
    text           TEXT,
    excerpt        TEXT,
    usage          TEXT,
    cost           TEXT,
    input_cost     REAL,
    output_cost    REAL,
    total_cost     REAL,
    model_name     TEXT,
    model_provider TEXT,
    experiment_id  INTEGER NOT NULL,
    PRIMARY KEY (trace_id, span_id)
);

-- What searches for spans and counts of them look at, without their texts.
CREATE INDEX spans_by_name ON spans (
    experiment_id, name, type, status, trace_id, start_ns, end_ns,
    model_name, model_provider, input_cost, output_cost, total_cost
);

-- value and metadata are JSON; error and rationale are text, or a blob with the JSON of a claim
-- check. experiment_id and trace_ms repeat what the trace says.
CREATE TABLE assessments (
    trace_id        TEXT NOT NULL,
    assessment_id   TEXT NOT NULL,
    assessment_type TEXT NOT NULL,
    name            TEXT NOT NULL,
    value           TEXT NOT NULL,
    error           TEXT,
    created_ms      INTEGER NOT NULL,
    updated_ms      INTEGER NOT NULL,
    source_type     TEXT NOT NULL,
    source_id       TEXT,
    run_id          TEXT,
    span_id         TEXT,
    rationale       TEXT,
    overrides       TEXT,
    valid           INTEGER NOT NULL,
    metadata        TEXT,
    number          REAL,
    is_number       INTEGER NOT NULL,
    experiment_id   INTEGER NOT NULL,
    trace_ms        INTEGER NOT NULL,
    PRIMARY KEY (trace_id, assessment_id)
);

CREATE INDEX assessments_by_name ON assessments (assessment_type, name);
CREATE INDEX assessments_by_number
    ON assessments (experiment_id, assessment_type, name, valid, is_number, number, trace_id);

-- In the order of an index of MLflow's: the last digits of a mean depend on it.
CREATE INDEX assessments_by_experiment ON assessments (experiment_id, name, valid);

-- Those on behalf of all traces of a session.
CREATE INDEX assessments_of_sessions ON assessments (experiment_id, assessment_type, name)
WHERE instr(metadata, '"mlflow.trace.session":') > 0;

-- What traces are linked to: runs and prompt versions, which lie elsewhere or nowhere.
CREATE TABLE trace_links (
    trace_id TEXT NOT NULL,
    kind     TEXT NOT NULL,
    target   TEXT NOT NULL,
    PRIMARY KEY (trace_id, kind, target)
) WITHOUT ROWID;

CREATE INDEX trace_links_by_target ON trace_links (kind, target);

-- Items of small families: what their events have said, as one document. parent is the subject
-- of what an item goes with, or nothing.
CREATE TABLE items (
    kind       TEXT NOT NULL,
    item_id    TEXT NOT NULL,
    workspace  TEXT NOT NULL,
    parent     TEXT NOT NULL,
    name       TEXT,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    fields     TEXT NOT NULL,
    PRIMARY KEY (kind, item_id)
) WITHOUT ROWID;

CREATE INDEX items_by_parent ON items (parent, kind, name);
CREATE INDEX items_by_name ON items (kind, name);

CREATE TABLE item_tags (
    kind    TEXT NOT NULL,
    item_id TEXT NOT NULL,
    key     TEXT NOT NULL,
    value   TEXT,
    PRIMARY KEY (kind, item_id, key)
) WITHOUT ROWID;

-- The manifest. Of several blobs at one path the one written last is there, unless it is deleted.
CREATE TABLE artifacts (
    path       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    written_ns INTEGER NOT NULL,
    source     TEXT NOT NULL,
    id         INTEGER NOT NULL,
    deleted    INTEGER NOT NULL,
    PRIMARY KEY (path, digest)
) WITHOUT ROWID;

CREATE INDEX artifacts_by_owner ON artifacts (owner);
CREATE INDEX artifacts_by_digest ON artifacts (digest);

-- Blobs on their way out: condemned, then collected; a manifest in between takes them off.
CREATE TABLE blobs (
    digest      TEXT PRIMARY KEY,
    condemned_ms INTEGER NOT NULL,
    collected_ms INTEGER
) WITHOUT ROWID;

-- Blobs that travel over the bus: what all chunks of one say alike, and since when all are there.
-- Between first_no and last_no, places in this host's log, its chunks stand.
CREATE TABLE carried_blobs (
    digest      TEXT PRIMARY KEY,
    size_bytes  INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL,
    complete_ms INTEGER,
    first_no    INTEGER NOT NULL,
    last_no     INTEGER NOT NULL
) WITHOUT ROWID;

-- Which chunks are there of blobs that are not complete.
CREATE TABLE blob_chunks (
    digest      TEXT NOT NULL,
    chunk_index INTEGER NOT NULL,
    PRIMARY KEY (digest, chunk_index)
) WITHOUT ROWID;

-- Which blob stores hold blobs that came over the bus, by what consumers have said.
CREATE TABLE stored_blobs (
    digest    TEXT NOT NULL,
    store     TEXT NOT NULL,
    stored_ms INTEGER NOT NULL,
    PRIMARY KEY (digest, store)
) WITHOUT ROWID;
