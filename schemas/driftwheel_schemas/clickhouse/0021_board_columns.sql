-- 0021: what boards read of the maps, as columns: a reading out of the map costs 600 ms over 5 M rows, a column of bytes 60. The maps stay the truth.
ALTER TABLE driftwheel.inferences {on_cluster}
    ADD COLUMN IF NOT EXISTS refusal Nullable(UInt8) MATERIALIZED if(mapContains(readings, 'refusal.flag'), readings['refusal.flag'], NULL) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS empty Nullable(UInt8) MATERIALIZED if(mapContains(readings, 'empty.flag'), readings['empty.flag'], NULL) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS repeated Nullable(UInt8) MATERIALIZED if(mapContains(readings, 'repeated.flag'), readings['repeated.flag'], NULL) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS json_valid Nullable(UInt8) MATERIALIZED if(mapContains(readings, 'json.valid.flag'), readings['json.valid.flag'], NULL) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS language_mismatch Nullable(UInt8) MATERIALIZED if(mapContains(readings, 'language.mismatch.flag'), readings['language.mismatch.flag'], NULL) CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS response_chars Nullable(UInt32) MATERIALIZED if(mapContains(readings, 'length.response.chars'), readings['length.response.chars'], NULL) CODEC(T64, ZSTD(1)),
    ADD COLUMN IF NOT EXISTS language LowCardinality(String) MATERIALIZED labels['language.code']
