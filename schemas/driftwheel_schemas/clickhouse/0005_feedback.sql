-- 0005: what was said of inferences. Revision 0 is what came in; revision 1 knows its inference.
CREATE TABLE IF NOT EXISTS driftwheel.feedback {on_cluster}
(
    tenant LowCardinality(String),
    id UUID CODEC(ZSTD(1)),
    revision UInt32,
    matched UInt8,
    app LowCardinality(String),
    name LowCardinality(String),
    value Nullable(Float64) CODEC(ZSTD(1)),
    label LowCardinality(String),
    comment String CODEC(ZSTD(3)),
    correction String CODEC(ZSTD(3)),
    source LowCardinality(String),
    author String CODEC(ZSTD(1)),
    inference_id String CODEC(ZSTD(1)),
    response_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    session_id String CODEC(ZSTD(1)),
    model LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    lag_s Nullable(Float64) CODEC(ZSTD(1)),
    at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    digest UInt64 CODEC(ZSTD(1)),
    topic LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta(8), ZSTD(1)),
    INDEX ix_inference inference_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree(revision)}
PARTITION BY toMonday(accepted_at)
ORDER BY (tenant, toStartOfHour(at), id)
TTL toDateTime(accepted_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
