-- The newest promotion of an app: its champion.
SELECT *
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND app = {app:String} AND decision = 'promote'
ORDER BY at DESC
LIMIT 1
