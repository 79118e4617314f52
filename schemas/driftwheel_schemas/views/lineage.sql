-- What came of each trigger: its dataset, its job, and the gate's decision, with the ids to look them up? The hundred newest.
-- Empty: no trigger was approved in this time range.
CREATE OR REPLACE VIEW driftwheel.lineage AS
SELECT t.at AS triggered_at, t.app AS app, t.policy AS policy, t.signal AS signal, t.state AS trigger_state, j.kind AS kind, j.state AS job_state,
       d.train_rows AS train_rows, d.eval_rows AS eval_rows, p.decision AS decision, if(p.decision = '', NULL, p.estimate) AS estimate,
       t.incident_id::String AS incident, t.id::String AS trigger, if(j.state = '', '', j.dataset_id) AS dataset, if(j.state = '', '', j.id::String) AS job,
       if(p.decision = '', '', p.id::String) AS promotion
FROM (SELECT * FROM driftwheel.triggers FINAL WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')} AND state != 'held') AS t
LEFT JOIN (SELECT * FROM driftwheel.jobs FINAL WHERE tenant = {tenant:String}) AS j ON j.trigger_id = t.id
LEFT JOIN (SELECT id, train_rows, eval_rows FROM driftwheel.datasets FINAL WHERE tenant = {tenant:String}) AS d ON d.id = j.dataset_id
LEFT JOIN (SELECT * FROM driftwheel.promotions FINAL WHERE tenant = {tenant:String} AND isFinite(estimate)) AS p ON p.job_id = j.id
WHERE has({apps:Array(String)}, '*') OR t.app IN {apps:Array(String)}
ORDER BY triggered_at DESC
LIMIT 100
