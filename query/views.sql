-- What user SQL sees: the names and columns of Databricks' MLflow system tables, and plain pairs.

CREATE OR REPLACE TEMP VIEW experiments_latest AS
SELECT workspace AS workspace_id, CAST(experiment_id AS VARCHAR) AS experiment_id, name,
    epoch_ms(created_ms) AS create_time, epoch_ms(updated_ms) AS update_time,
    CASE lifecycle WHEN 'deleted' THEN epoch_ms(e.epoch_ms) END AS delete_time,
    artifact_location, lifecycle AS lifecycle_stage,
    coalesce(
        (SELECT map(list(t.key ORDER BY t.key), list(t.value ORDER BY t.key))
        FROM fold.experiment_tags t WHERE t.experiment_id = e.experiment_id), MAP {}
    ) AS tags
FROM fold.experiments e WHERE lifecycle <> 'purged';

CREATE OR REPLACE TEMP VIEW live_runs AS
SELECT r.* EXCLUDE (lifecycle, epoch, deleted_ms), e.workspace,
    CASE WHEN e.epoch > r.epoch THEN e.lifecycle ELSE r.lifecycle END AS lifecycle,
    CASE WHEN e.epoch <= r.epoch THEN r.deleted_ms
        WHEN e.lifecycle = 'deleted' THEN e.epoch_ms END AS deleted_ms
FROM fold.runs r JOIN fold.experiments e USING (experiment_id) WHERE e.lifecycle <> 'purged';

CREATE OR REPLACE TEMP VIEW params AS
SELECT run_id, key, value FROM fold.params JOIN fold.runs USING (run_no);

CREATE OR REPLACE TEMP VIEW tags AS
SELECT run_id, key, value FROM fold.tags JOIN fold.runs USING (run_no);

CREATE OR REPLACE TEMP VIEW metrics AS
SELECT run_id, key, CASE WHEN is_nan THEN 'NaN'::DOUBLE ELSE value END AS value, step,
    epoch_ms(timestamp_ms) AS "timestamp"
FROM fold.metrics JOIN fold.runs USING (run_no);

CREATE OR REPLACE TEMP VIEW runs_latest AS
SELECT r.workspace AS workspace_id, r.run_id, CAST(r.experiment_id AS VARCHAR) AS experiment_id,
    r.user_id AS created_by, r.name AS run_name, r.status,
    epoch_ms(r.start_ms) AS start_time, epoch_ms(r.end_ms) AS end_time,
    epoch_ms(r.deleted_ms) AS delete_time, r.lifecycle AS lifecycle_stage, r.artifact_uri,
    coalesce(p.pairs, MAP {}) AS params, coalesce(t.pairs, MAP {}) AS tags,
    coalesce(m.pairs, MAP {}) AS latest_metrics, coalesce(m.aggregated, []) AS aggregated_metrics
FROM live_runs r
LEFT JOIN (
    SELECT run_no, map(list(key ORDER BY key), list(value ORDER BY key)) AS pairs
    FROM fold.params GROUP BY run_no
) p USING (run_no)
LEFT JOIN (
    SELECT run_no, map(list(key ORDER BY key), list(value ORDER BY key)) AS pairs
    FROM fold.tags GROUP BY run_no
) t USING (run_no)
LEFT JOIN (
    SELECT run_no,
        map(list(key ORDER BY key),
            list(CASE WHEN is_nan THEN 'NaN'::DOUBLE ELSE value END ORDER BY key)) AS pairs,
        list({
            metric_name: key,
            latest_value: CASE WHEN is_nan THEN 'NaN'::DOUBLE ELSE value END,
            latest_step: step, latest_time: epoch_ms(timestamp_ms)
        } ORDER BY key) AS aggregated
    FROM fold.metrics GROUP BY run_no
) m USING (run_no);

CREATE OR REPLACE TEMP VIEW run_metrics_history AS
SELECT DISTINCT r.run_id, CAST(r.experiment_id AS VARCHAR) AS experiment_id, key AS metric_name,
    epoch_ms(timestamp_ms) AS metric_time, step AS metric_step,
    CASE WHEN is_nan THEN 'NaN'::DOUBLE ELSE value END AS metric_value
FROM fold.history JOIN fold.runs r USING (run_no);

CREATE OR REPLACE TEMP VIEW model_versions AS
SELECT workspace AS workspace_id, v.name, v.version, v.stage AS current_stage,
    coalesce(
        (SELECT list(a.alias ORDER BY a.alias) FROM fold.model_aliases a
        WHERE a.name = v.name AND a.version = v.version), []
    ) AS aliases,
    v.run_id, v.model_id, v.source, v.description, v.user_id AS created_by,
    epoch_ms(created_ms) AS create_time, epoch_ms(updated_ms) AS update_time,
    coalesce(
        (SELECT map(list(t.key ORDER BY t.key), list(t.value ORDER BY t.key))
        FROM fold.model_version_tags t WHERE t.name = v.name AND t.version = v.version), MAP {}
    ) AS tags
FROM fold.model_versions v;

CREATE OR REPLACE TEMP VIEW audit AS
SELECT a."offset", epoch_ms(a.time_ms) AS event_time, epoch_ms(a.append_ms) AS append_time,
    a.actor, a.actorkind, a.host, a.client, a.workspace AS workspace_id,
    coalesce(CASE a.type WHEN 'CommandRejected' THEN r.command END, a.type) AS action_name,
    a.subject AS entity,
    CASE WHEN r.code IS NULL THEN 'accepted' ELSE 'rejected' END AS verdict,
    r.code AS error_code, r.message AS error_message, a.source, a.id, a.correlationid
FROM fold.audit a
LEFT JOIN (
    SELECT source, id, min(command) AS command, min(code) AS code,
        min(message) AS message
    FROM fold.rejections GROUP BY source, id
) r ON r.source = a.source AND r.id = a.id;

-- Every value that a field ever had, and from when to when it stood; a model by its last name.
CREATE OR REPLACE TEMP VIEW history AS
SELECT CASE WHEN kind <> 'models' THEN kind || ':/' || id
        ELSE 'models:/' || m.name || coalesce('/' || CAST(version AS VARCHAR), '') END AS entity,
    kind, CASE WHEN kind = 'models' THEN m.name ELSE id END AS id, version, field, value, actor,
    actorkind, epoch_ms(since_ms) AS valid_from, epoch_ms(until_ms) AS valid_to,
    event AS action_name, epoch_ms(time_ms) AS event_time, ended_by, ended_event,
    since_offset AS "offset", until_offset AS ended_offset
FROM overwritten o LEFT JOIN (
    SELECT id AS uid, arg_max(value, since_offset) AS name FROM overwritten
    WHERE kind = 'models' AND version IS NULL AND field = 'name' GROUP BY id
) m ON o.kind = 'models' AND o.id = m.uid;

CREATE OR REPLACE TEMP VIEW run_tags_history AS
SELECT id AS run_id, field[6:] AS key, value, actor, actorkind, valid_from, valid_to, action_name,
    ended_by
FROM history WHERE kind = 'runs' AND starts_with(field, 'tags.');

CREATE OR REPLACE TEMP VIEW run_status_history AS
SELECT id AS run_id, value AS status, actor, actorkind, valid_from, valid_to, action_name, ended_by
FROM history WHERE kind = 'runs' AND field = 'status';

CREATE OR REPLACE TEMP VIEW experiment_tags_history AS
SELECT id AS experiment_id, field[6:] AS key, value, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE kind = 'experiments' AND starts_with(field, 'tags.');

CREATE OR REPLACE TEMP VIEW lifecycle_history AS
SELECT entity, kind, id, value AS lifecycle_stage, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE field = 'lifecycle';

CREATE OR REPLACE TEMP VIEW logged_model_tags_history AS
SELECT id AS model_id, field[6:] AS key, value, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE kind = 'logged_models' AND starts_with(field, 'tags.');

CREATE OR REPLACE TEMP VIEW registered_model_tags_history AS
SELECT id AS name, field[6:] AS key, value, actor, actorkind, valid_from, valid_to, action_name,
    ended_by
FROM history WHERE kind = 'models' AND version IS NULL AND starts_with(field, 'tags.');

CREATE OR REPLACE TEMP VIEW model_aliases_history AS
SELECT id AS name, field[9:] AS alias, CAST(value AS INTEGER) AS version, actor, actorkind,
    valid_from, valid_to, action_name, ended_by
FROM history WHERE kind = 'models' AND version IS NULL AND starts_with(field, 'aliases.');

CREATE OR REPLACE TEMP VIEW model_version_stages_history AS
SELECT id AS name, version, value AS stage, actor, actorkind, valid_from, valid_to, action_name,
    ended_by
FROM history WHERE kind = 'models' AND version IS NOT NULL AND field = 'stage';

CREATE OR REPLACE TEMP VIEW model_version_tags_history AS
SELECT id AS name, version, field[6:] AS key, value, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE kind = 'models' AND version IS NOT NULL AND starts_with(field, 'tags.');

CREATE OR REPLACE TEMP VIEW descriptions_history AS
SELECT entity, kind, id, version, value AS description, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE field = 'description';

CREATE OR REPLACE TEMP VIEW trace_tags_history AS
SELECT id AS trace_id, field[6:] AS key, value, actor, actorkind, valid_from, valid_to,
    action_name, ended_by
FROM history WHERE kind = 'traces' AND starts_with(field, 'tags.');
