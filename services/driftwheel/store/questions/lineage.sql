-- Decisions of the gate for an app, newest first, with what they rest on.
SELECT at, decision, candidate, champion, metric, round(estimate, 4) AS gain, round(interval_low, 4) AS low, round(interval_high, 4) AS high, sample_size,
       dataset_id, substring(toString(trigger_id), 1, 8) AS `trigger`, reason
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND app = {app:String}
ORDER BY at DESC
LIMIT 100
