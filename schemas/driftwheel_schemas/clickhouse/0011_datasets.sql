-- 0011: what a model was trained on: the manifest with its digests, counts and filters.
CREATE TABLE IF NOT EXISTS driftwheel.datasets {on_cluster}
(
    tenant LowCardinality(String),
    id String,
    app LowCardinality(String),
    job_id UUID,
    trigger_id UUID,
    train_rows UInt32,
    eval_rows UInt32,
    heldout_rows UInt32,
    manifest String CODEC(ZSTD(3)),
    at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
ORDER BY (tenant, app, id)
