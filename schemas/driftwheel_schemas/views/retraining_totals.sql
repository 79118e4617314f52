-- How does retraining stand: what waits for a person now, what runs, and what came of it in this time range?
-- Empty: no policy decided anything yet.
-- pending_triggers: Triggers that wait for a person now (`driftwheel jobs approve ID`).
-- held: Decisions of this time range to do nothing yet.
-- approved: Triggers of this time range that started a job.
-- running_jobs: Jobs that run, or wait to, now.
-- failed_jobs: Jobs that failed in this time range.
-- promoted: Candidates that the gate let through in this time range.
-- rejected: Candidates that it held or rejected.
CREATE OR REPLACE VIEW driftwheel.retraining_totals AS
SELECT pending_triggers, held, approved, running_jobs, failed_jobs, promoted, rejected
FROM
(
    SELECT countIf(state = 'pending') AS pending_triggers,
           countIf(state = 'held' AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}) AS held,
           countIf(state = 'approved' AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}) AS approved
    FROM driftwheel.triggers FINAL
    WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS decided,
(
    SELECT countIf(state IN ('requested', 'running')) AS running_jobs,
           countIf(state = 'failed' AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}) AS failed_jobs
    FROM driftwheel.jobs FINAL
    WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS worked,
(
    SELECT countIf(decision = 'promote') AS promoted, countIf(decision != 'promote') AS rejected
    FROM driftwheel.promotions FINAL
    WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS judged
