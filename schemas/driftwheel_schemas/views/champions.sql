-- Which model is the champion of each app, since when, and by which gain? The newest promotion that said `promote`; a hundred apps.
-- Empty: nothing was promoted yet: apps use the models that they had.
CREATE OR REPLACE VIEW driftwheel.champions AS
SELECT app, substringUTF8(candidate, 1, 120) AS champion, at AS since, metric, if(isFinite(estimate), estimate, NULL) AS gain, dataset_id AS dataset, substringUTF8(artifact, 1, 200) AS artifact
FROM driftwheel.promotions FINAL
WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)}) AND decision = 'promote'
ORDER BY at DESC
LIMIT 1 BY app
LIMIT 100
