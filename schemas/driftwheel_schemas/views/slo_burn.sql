-- How fast is the error budget spent? An inference is bad that failed or took longer than `slow_s`; a burn of 1 spends the budget just in time.
-- Empty: no inference with these apps, environments, models and prompt versions started in this time range.
-- burn_1h: How many times too fast the last hour spent the error budget.
-- burn_6h: How many times too fast the last six hours did; both above 6 is an incident.
-- budget_left_share: Of the inferences that the objective allows to be bad, the share that is left at the end of this time range; below 0 it is missed.
-- good_share: Inferences that worked and were fast enough, of all.
CREATE OR REPLACE VIEW driftwheel.slo_burn AS
SELECT time,
       sum(bad) OVER hour / sum(requests) OVER hour / (1 - {objective:Float64}) AS burn_1h,
       sum(bad) OVER six / sum(requests) OVER six / (1 - {objective:Float64}) AS burn_6h,
       1 - sum(bad) OVER () / sum(requests) OVER () / (1 - {objective:Float64}) AS budget_left_share,
       1 - sum(bad) OVER () / sum(requests) OVER () AS good_share
FROM
(
    SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time, count() AS requests,
           countIf(error_type != '' OR latency_s > {slow_s:Float64}) AS bad
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY time
)
WINDOW hour AS (ORDER BY toUnixTimestamp(time) RANGE BETWEEN 3599 PRECEDING AND CURRENT ROW),
       six AS (ORDER BY toUnixTimestamp(time) RANGE BETWEEN 21599 PRECEDING AND CURRENT ROW)
ORDER BY time
LIMIT 20000
