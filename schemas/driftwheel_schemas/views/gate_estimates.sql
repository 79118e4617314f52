-- How much better were the candidates? Candidate minus champion, with the interval of the gate's test, at each decision; above 0 the candidate is better.
-- Empty: the gate decided nothing in this time range; it does when a job has evaluated a candidate.
CREATE OR REPLACE VIEW driftwheel.gate_estimates AS
SELECT at AS time, app::String AS name, estimate, interval_low, interval_high
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND isFinite(estimate) AND isFinite(interval_low) AND isFinite(interval_high)
ORDER BY time, name
LIMIT 1 BY time, name
LIMIT 1000
