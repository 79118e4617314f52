-- 0020: the numbers of /metrics, every 15 seconds from every process, so that the Pipeline board needs no second data source.
CREATE TABLE IF NOT EXISTS driftwheel.meters {on_cluster}
(
    id UUID DEFAULT generateUUIDv4(),
    at DateTime64(3, 'UTC') CODEC(Delta(8), ZSTD(1)),
    instance LowCardinality(String),
    name LowCardinality(String),
    labels Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    value Float64 CODEC(ZSTD(1))
)
ENGINE = {engine:MergeTree}
PARTITION BY toMonday(at)
ORDER BY (name, instance, at)
TTL toDateTime(at) + INTERVAL 30 DAY
SETTINGS ttl_only_drop_parts = 1
