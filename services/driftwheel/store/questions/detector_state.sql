-- The newest snapshot of every series of a partition, and the reference that each of them stands on.
SELECT series, part, digest, offset, revision, data
FROM driftwheel.detector_state FINAL
WHERE partition = {partition:UInt32}
