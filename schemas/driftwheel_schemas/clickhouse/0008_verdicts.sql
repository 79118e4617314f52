-- 0008: what detectors say. Drifted rows are alarms and their revisions; the others show the evidence of a quiet series.
CREATE TABLE IF NOT EXISTS driftwheel.verdicts {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    signal LowCardinality(String),
    segment LowCardinality(String),
    series String,
    detector LowCardinality(String),
    reference_version String,
    epoch UInt32,
    drifted Bool,
    evidence Float64,
    level Float64,
    promise String,
    at DateTime64(6, 'UTC'),
    accepted_at DateTime64(6, 'UTC'),
    onset Nullable(DateTime64(6, 'UTC')),
    onset_accepted_at Nullable(DateTime64(6, 'UTC')),
    direction LowCardinality(String),
    baseline Nullable(Float64),
    current Nullable(Float64),
    sample_size UInt64,
    reference_size UInt64,
    units_to_alarm UInt64,
    reason String,
    examples Array(String)
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toYYYYMM(accepted_at)
ORDER BY (tenant, app, signal, segment, id, drifted, revision)
TTL toDateTime(accepted_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
