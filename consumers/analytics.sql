-- Analytics in DuckDB: columns of the keyed state, without rules or keys of their own. Disposable.
-- run_no is the state's; no primary keys (they cost ten times the space and gain nothing).

CREATE SCHEMA fold;

CREATE TABLE fold.meta (key VARCHAR, value VARCHAR);

CREATE TABLE fold.runs (
    run_no INTEGER, run_id VARCHAR, experiment_id BIGINT, name VARCHAR, user_id VARCHAR,
    status VARCHAR, start_ms BIGINT, end_ms BIGINT, artifact_uri VARCHAR, lifecycle VARCHAR,
    epoch INTEGER, deleted_ms BIGINT
);
CREATE TABLE fold.params (run_no INTEGER, key VARCHAR, value VARCHAR);
CREATE TABLE fold.tags (run_no INTEGER, key VARCHAR, value VARCHAR);
CREATE TABLE fold.metrics (
    run_no INTEGER, key VARCHAR, value DOUBLE, is_nan BOOLEAN, timestamp_ms BIGINT, step BIGINT
);
CREATE TABLE fold.history (
    run_no INTEGER, key VARCHAR, value DOUBLE, is_nan BOOLEAN, timestamp_ms BIGINT, step BIGINT
);
CREATE TABLE fold.inputs (run_no INTEGER, name VARCHAR, digest VARCHAR, context VARCHAR);

CREATE TABLE fold.experiments (
    experiment_id BIGINT, workspace VARCHAR, name VARCHAR, artifact_location VARCHAR,
    lifecycle VARCHAR, epoch INTEGER, epoch_ms BIGINT, created_ms BIGINT, updated_ms BIGINT
);
CREATE TABLE fold.experiment_tags (experiment_id BIGINT, key VARCHAR, value VARCHAR);
CREATE TABLE fold.model_versions (
    workspace VARCHAR, name VARCHAR, version INTEGER, uid VARCHAR, created_ms BIGINT,
    updated_ms BIGINT, description VARCHAR, user_id VARCHAR, stage VARCHAR, source VARCHAR,
    run_id VARCHAR, model_id VARCHAR
);
CREATE TABLE fold.model_version_tags (
    name VARCHAR, version INTEGER, key VARCHAR, value VARCHAR
);
CREATE TABLE fold.model_aliases (name VARCHAR, alias VARCHAR, version INTEGER);
CREATE TABLE fold.rejections (
    source VARCHAR, id BIGINT, command VARCHAR, code VARCHAR, message VARCHAR
);

CREATE TABLE fold.audit (
    "offset" BIGINT, append_ms BIGINT, time_ms BIGINT, source VARCHAR, id BIGINT, type VARCHAR,
    subject VARCHAR, actor VARCHAR, actorkind VARCHAR, host VARCHAR, client VARCHAR,
    workspace VARCHAR, correlationid VARCHAR
);
