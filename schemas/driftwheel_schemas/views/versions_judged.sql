-- Which prompt versions please least? By the upper end of the 95 % interval of the share of thumbs up, then by refusals and errors; the first thirty.
-- Empty: no inference with these apps, environments, models and prompt versions started in this time range.
CREATE OR REPLACE VIEW driftwheel.versions_judged AS
SELECT app, prompt_name, prompt_version, requests, error_share, refusal_share, thumbs, up / nullIf(thumbs, 0) AS thumbs_share,
       round((up + 1.9208 - 1.96 * sqrt(up * (thumbs - up) / nullIf(thumbs, 0) + 0.9604)) / (thumbs + 3.8416), 9) AS thumbs_low_share,
       round((up + 1.9208 + 1.96 * sqrt(up * (thumbs - up) / nullIf(thumbs, 0) + 0.9604)) / (thumbs + 3.8416), 9) AS thumbs_high_share,
       cost_per_request_usd
FROM
(
    SELECT app, prompt_name, prompt_version, count() AS requests, countIf(error_type != '') / requests AS error_share,
           avg(refusal) AS refusal_share,
           toFloat64(avg(cost_usd)) AS cost_per_request_usd
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY app, prompt_name, prompt_version
) AS asked
LEFT JOIN
(
    SELECT app, prompt_name, prompt_version, count() AS thumbs, countIf(value > 0) AS up
    FROM driftwheel.feedback
    WHERE tenant = {tenant:String} AND matched AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND source = 'user' AND name IN ('thumbs', 'accepted', 'correct', 'helpful') AND value IS NOT NULL
    GROUP BY app, prompt_name, prompt_version
) AS said USING (app, prompt_name, prompt_version)
ORDER BY thumbs_high_share NULLS LAST, refusal_share + error_share DESC, requests DESC
LIMIT 30
