-- When was the last event of each kind, as of the end of this time range?
-- Empty: nothing was stored in this time range.
-- inference_age_s: Since the newest inference was accepted.
-- feedback_age_s: Since the newest feedback was accepted.
-- verdict_age_s: Since the newest word of a detector.
CREATE OR REPLACE VIEW driftwheel.freshness AS
SELECT (SELECT if(count() = 0, NULL, greatest(0, dateDiff('second', max(accepted_at), {until:DateTime('UTC')}))) FROM driftwheel.inferences
        WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}) AS inference_age_s,
       (SELECT if(count() = 0, NULL, greatest(0, dateDiff('second', max(accepted_at), {until:DateTime('UTC')}))) FROM driftwheel.feedback
        WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}) AS feedback_age_s,
       (SELECT if(count() = 0, NULL, greatest(0, dateDiff('second', max(accepted_at), {until:DateTime('UTC')}))) FROM driftwheel.verdicts
        WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}) AS verdict_age_s
