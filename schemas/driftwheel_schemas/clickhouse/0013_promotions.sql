-- 0013: decisions of the gate, with the test that says so. The newest `promote` of an app names its champion.
CREATE TABLE IF NOT EXISTS driftwheel.promotions {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    app LowCardinality(String),
    job_id UUID,
    trigger_id UUID,
    dataset_id String,
    decision LowCardinality(String),
    candidate String,
    champion String,
    artifact String,
    metric LowCardinality(String),
    test LowCardinality(String),
    estimate Float64,
    interval_low Float64,
    interval_high Float64,
    confidence Float64,
    p_value Float64,
    sample_size UInt32,
    metrics Map(LowCardinality(String), Float64),
    reason String,
    at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (tenant, app, id)
