-- 0014: what could not be used, where it lay, why, and its bytes (base64: they need not be text).
CREATE TABLE IF NOT EXISTS driftwheel.dead_letters {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    topic LowCardinality(String),
    partition UInt16,
    offset UInt64,
    `index` UInt32,
    reason LowCardinality(String),
    detail String,
    event_id String,
    size_bytes UInt64,
    sha256 String,
    payload String CODEC(ZSTD(3)),
    at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(at)
ORDER BY (tenant, topic, partition, offset, `index`, id)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
