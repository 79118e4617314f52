-- For alerts, over every tenant: how do apps with at least `least` inferences fare, and how long has each been quiet?
-- Empty: no app had so many inferences in this time range.
CREATE OR REPLACE VIEW driftwheel.alert_apps AS
SELECT tenant::String AS tenant, app::String AS app, toFloat64(count()) AS requests, countIf(error_type != '') / requests AS error_share,
       toFloat64(ifNull(if(isFinite(quantileTDigest(0.95)(i.latency_s)), quantileTDigest(0.95)(i.latency_s), 0), 0)) AS latency_p95_s,
       toFloat64(greatest(0, dateDiff('second', max(accepted_at), {until:DateTime('UTC')}))) AS quiet_s
FROM driftwheel.inferences AS i
WHERE (has({tenants:Array(String)}, '*') OR tenant IN {tenants:Array(String)}) AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
GROUP BY tenant, app
HAVING requests >= {least:UInt32}
ORDER BY requests DESC
LIMIT 500
