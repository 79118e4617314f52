-- 0015: which dead letters were put back on their topic, and where each lies there; such a letter is not open any more. Kept longer than letters are.
CREATE TABLE IF NOT EXISTS driftwheel.replays {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    letter_id UUID,
    topic LowCardinality(String),
    partition UInt16,
    offset UInt64,
    at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(at)
ORDER BY (tenant, letter_id, id)
TTL toDateTime(at) + INTERVAL 60 DAY
SETTINGS ttl_only_drop_parts = 1
