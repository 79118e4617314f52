-- 0009: snapshots: of each series its reference (written once a version) and its small moving part (newest revision wins).
CREATE TABLE IF NOT EXISTS driftwheel.detector_state {on_cluster}
(
    id UUID,
    partition UInt16,
    series String,
    part LowCardinality(String),
    digest String,
    offset UInt64,
    revision UInt64,
    data String CODEC(ZSTD(3)),
    accepted_at DateTime64(6, 'UTC')
)
ENGINE = {engine:ReplacingMergeTree(revision)}
ORDER BY (partition, series, part)
