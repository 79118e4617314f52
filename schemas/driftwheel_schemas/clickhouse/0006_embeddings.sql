-- 0006: bfloat16 vectors, brute force within tenant, app, encoder, role and time (an HNSW index costs 2.4 ms a row).
CREATE TABLE IF NOT EXISTS driftwheel.embeddings {on_cluster}
(
    tenant LowCardinality(String),
    id UUID CODEC(ZSTD(1)),
    inference_id UUID CODEC(ZSTD(1)),
    app LowCardinality(String),
    model LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    role LowCardinality(String),
    encoder LowCardinality(String),
    started_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    vec Array(BFloat16) CODEC(ZSTD(1)),
    INDEX ix_inference inference_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(accepted_at)
ORDER BY (tenant, app, encoder, role, toStartOfHour(started_at), id)
TTL toDateTime(accepted_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
