-- 0016: whether a verdict may wake somebody, and when what it says was over.
ALTER TABLE driftwheel.verdicts {on_cluster}
    ADD COLUMN IF NOT EXISTS severity LowCardinality(String) DEFAULT 'ticket',
    ADD COLUMN IF NOT EXISTS resolved_at Nullable(DateTime64(6, 'UTC'))
