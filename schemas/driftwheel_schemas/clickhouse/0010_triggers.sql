-- 0010: decisions of policies, also the decision to do nothing yet, each with its reason.
CREATE TABLE IF NOT EXISTS driftwheel.triggers {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    policy LowCardinality(String),
    verdict_id UUID,
    incident_id UUID,
    job LowCardinality(String),
    state LowCardinality(String),
    reason String,
    signal LowCardinality(String),
    segment LowCardinality(String),
    evidence Float64,
    level Float64,
    onset Nullable(DateTime64(6, 'UTC')),
    at DateTime64(6, 'UTC'),
    accepted_at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(revision)}
ORDER BY (tenant, app, id)
