-- 0018: what is to be told to whom: decided once, delivered until it landed or was given up. The newest revision says where it stands.
CREATE TABLE IF NOT EXISTS driftwheel.outbox {on_cluster}
(
    tenant LowCardinality(String),
    id UUID,
    revision UInt64,
    app LowCardinality(String),
    action LowCardinality(String),
    kind LowCardinality(String),
    subject UUID,
    state LowCardinality(String),
    attempts UInt16,
    detail String,
    notice String CODEC(ZSTD(3)),
    decided_at DateTime64(6, 'UTC'),
    due_at DateTime64(6, 'UTC'),
    done_at Nullable(DateTime64(6, 'UTC'))
)
ENGINE = {engine:ReplacingMergeTree(revision)}
PARTITION BY toYYYYMM(decided_at)
ORDER BY (tenant, id)
TTL toDateTime(decided_at) + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1
