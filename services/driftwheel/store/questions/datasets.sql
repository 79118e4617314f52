-- The datasets, newest first.
SELECT id, app, train_rows, eval_rows, heldout_rows, substring(toString(job_id), 1, 8) AS job, at
FROM driftwheel.datasets FINAL
ORDER BY at DESC
LIMIT 100
