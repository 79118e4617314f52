-- 0019: who is not to be told for a while; patterns as in policies, an empty one does not matter.
CREATE TABLE IF NOT EXISTS driftwheel.snoozes {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    signal LowCardinality(String),
    incident_id String,
    reason String,
    at DateTime64(6, 'UTC'),
    until DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(revision)}
ORDER BY (tenant, id)
TTL toDateTime(until) + INTERVAL 90 DAY
