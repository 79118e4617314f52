-- Which jobs run or ran, at which step, and how far? Running ones first; the hundred newest.
-- Empty: no job ran in this time range; one starts when a trigger is approved (`driftwheel jobs approve ID`).
CREATE OR REPLACE VIEW driftwheel.jobs_told AS
SELECT at, state, app, kind, step, progress AS progress_share, substringUTF8(detail, 1, 300) AS detail, dataset_id AS dataset, trigger_id::String AS trigger, id::String AS job
FROM driftwheel.jobs FINAL
WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (state IN ('requested', 'running') OR (at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}))
ORDER BY state IN ('requested', 'running') DESC, at DESC
LIMIT 100
