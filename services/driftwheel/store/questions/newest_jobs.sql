-- Jobs, newest first.
SELECT substring(toString(id), 1, 8) AS id, app, kind, state, step, round(progress * 100) AS percent, detail, at
FROM driftwheel.jobs FINAL
ORDER BY at DESC
LIMIT {limit:UInt32}
