-- 0007: readings that need a model or a person and come after the inference.
CREATE TABLE IF NOT EXISTS driftwheel.late_readings {on_cluster}
(
    tenant LowCardinality(String),
    id UUID CODEC(ZSTD(1)),
    inference_id UUID CODEC(ZSTD(1)),
    app LowCardinality(String),
    model LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    signal LowCardinality(String),
    value Float32 CODEC(ZSTD(1)),
    version UInt16,
    started_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    INDEX ix_inference inference_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree(version)}
PARTITION BY toMonday(accepted_at)
ORDER BY (tenant, app, signal, toStartOfHour(started_at), id)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
