-- For alerts, over every tenant: how do apps with at least `least` inferences fare, and how long has each been quiet?
-- Empty: no app had so many inferences in this time range.
CREATE OR REPLACE VIEW driftwheel.alert_apps AS
SELECT tenant::String AS tenant, app::String AS app, toFloat64(count()) AS requests, countIf(error_type != '') / requests AS error_share,
       quantileTDigest(0.95)(i.latency_s) AS p95, ifNull(if(isFinite(p95), p95, 0), 0)::Float64 AS latency_p95_s,
       toFloat64(dateDiff('second', max(accepted_at), {until:DateTime('UTC')})) AS quiet_s
FROM driftwheel.inferences AS i
WHERE (has({tenants:Array(String)}, '*') OR tenant IN {tenants:Array(String)}) AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
GROUP BY tenant, app
HAVING requests >= {least:UInt32}
ORDER BY requests DESC
LIMIT 500
