-- 0012: fine-tunings and evaluations; the newest revision says where one stands.
CREATE TABLE IF NOT EXISTS driftwheel.jobs {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    trigger_id UUID,
    kind LowCardinality(String),
    state LowCardinality(String),
    step LowCardinality(String),
    progress Float32,
    detail String,
    params Map(LowCardinality(String), String),
    dataset_id String,
    at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(revision)}
ORDER BY (tenant, app, id)
