-- 0003: the text of prompts and responses, in a table of its own with a shorter life; boards never read it.
CREATE TABLE IF NOT EXISTS driftwheel.payloads {on_cluster}
(
    tenant LowCardinality(String),
    id UUID CODEC(ZSTD(1)),
    app LowCardinality(String),
    started_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    prompt String CODEC(ZSTD(3)),
    response String CODEC(ZSTD(3)),
    prompt_text String CODEC(ZSTD(3)),
    response_text String CODEC(ZSTD(3)),
    INDEX ix_id id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(accepted_at)
PRIMARY KEY (tenant, app, toStartOfHour(started_at))
ORDER BY (tenant, app, toStartOfHour(started_at), id)
TTL toDateTime(accepted_at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1, index_granularity_bytes = 67108864
