-- 0004: the other names of an inference (provider response id, trace and span, session), by which feedback finds it.
-- started_at is in the key: feedback on a session means its last inference before the feedback.
CREATE TABLE IF NOT EXISTS driftwheel.aliases {on_cluster}
(
    tenant LowCardinality(String),
    name String CODEC(ZSTD(1)),
    id UUID CODEC(ZSTD(1)),
    inference_id UUID CODEC(ZSTD(1)),
    started_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    accepted_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1))
)
ENGINE = {engine:ReplacingMergeTree}
PARTITION BY toMonday(accepted_at)
ORDER BY (tenant, name, started_at, id)
TTL toDateTime(accepted_at) + INTERVAL 90 DAY
SETTINGS ttl_only_drop_parts = 1
