-- 0002: one narrow row per call of a model; no text, no vectors. Inline readings are a map, so a new signal needs no DDL.
-- Keyed down to the id: a second writer that did not know it lost its partition collapses at merge (docs/architecture.md).
-- Partition and TTL follow accepted_at: old traffic can be loaded and a wrong client clock harms nothing.
CREATE TABLE IF NOT EXISTS driftwheel.inferences {on_cluster}
(
    tenant LowCardinality(String),
    id UUID CODEC(ZSTD(1)),
    app LowCardinality(String),
    environment LowCardinality(String),
    operation LowCardinality(String),
    provider LowCardinality(String),
    model LowCardinality(String),
    response_model LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    session_id String CODEC(ZSTD(1)),
    user_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_span_id String CODEC(ZSTD(1)),
    response_id String CODEC(ZSTD(1)),
    finish_reason LowCardinality(String),
    error_type LowCardinality(String),
    response_format LowCardinality(String),
    started_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    latency_s Nullable(Float32) CODEC(ZSTD(1)),
    ttft_s Nullable(Float32) CODEC(ZSTD(1)),
    input_tokens Nullable(UInt32) CODEC(T64, ZSTD(1)),
    output_tokens Nullable(UInt32) CODEC(T64, ZSTD(1)),
    cached_tokens Nullable(UInt32) CODEC(T64, ZSTD(1)),
    reasoning_tokens Nullable(UInt32) CODEC(T64, ZSTD(1)),
    cost_usd Nullable(Decimal(18, 9)) CODEC(ZSTD(1)),
    readings Map(LowCardinality(String), Float32) CODEC(ZSTD(1)),
    labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    digest UInt64 CODEC(ZSTD(1)),
    topic LowCardinality(String),
    partition UInt16,
    offset UInt64 CODEC(Delta(8), ZSTD(1)),
    INDEX ix_id id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_session session_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX ix_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(accepted_at)
PRIMARY KEY (tenant, app, toStartOfHour(started_at))
ORDER BY (tenant, app, toStartOfHour(started_at), id)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
