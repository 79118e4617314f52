-- For alerts, over every tenant: how many incidents of this severity are open, by app?
-- Empty: none is open.
CREATE OR REPLACE VIEW driftwheel.alert_incidents AS
SELECT tenant::String AS tenant, app::String AS app, toFloat64(count()) AS incidents
FROM driftwheel.incidents FINAL
WHERE (has({tenants:Array(String)}, '*') OR tenant IN {tenants:Array(String)}) AND state = 'open' AND severity = {severity:String}
GROUP BY tenant, app
ORDER BY incidents DESC
LIMIT 500
