-- 0017: what people are told of: verdicts of one app and one onset, or one rule. The newest revision says where it stands.
CREATE TABLE IF NOT EXISTS driftwheel.incidents {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    state LowCardinality(String),
    severity LowCardinality(String),
    title String,
    reason String,
    signals Array(LowCardinality(String)),
    segments Array(String),
    verdicts Array(String),
    over Array(String),
    detector LowCardinality(String),
    onset Nullable(DateTime64(6, 'UTC')),
    opened_at DateTime64(6, 'UTC'),
    changed_at DateTime64(6, 'UTC'),
    resolved_at Nullable(DateTime64(6, 'UTC')),
    resolution String
)
ENGINE = {engine:ReplacingMergeTree(revision)}
ORDER BY (tenant, app, id)
