-- What did the gate decide, and by which test? Candidate minus champion with its interval, and p; the hundred newest.
-- Empty: the gate decided nothing in this time range; it does when a job has evaluated a candidate.
CREATE OR REPLACE VIEW driftwheel.gates AS
SELECT at, decision, app, substringUTF8(candidate, 1, 120) AS candidate, substringUTF8(champion, 1, 120) AS champion, metric,
       if(isFinite(estimate), estimate, NULL) AS estimate, if(isFinite(interval_low), interval_low, NULL) AS interval_low,
       if(isFinite(interval_high), interval_high, NULL) AS interval_high, if(isFinite(p_value), p_value, NULL) AS p_value,
       sample_size, test, substringUTF8(reason, 1, 300) AS reason, job_id::String AS job
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
ORDER BY at DESC
LIMIT 100
