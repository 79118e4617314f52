-- 0001: an Atomic database, since the engine's default one refuses what we need later (refreshable views).
CREATE DATABASE IF NOT EXISTS driftwheel {on_cluster} ENGINE = Atomic
