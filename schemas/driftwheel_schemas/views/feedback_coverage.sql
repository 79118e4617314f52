-- Of how many inferences was anything said at all? By when the inference started; feedback is awaited for three days.
-- Empty: no inference with these apps, models and prompt versions started in this time range.
-- judged_share: Inferences with any feedback, of all, by when they started; feedback is awaited for three days, so the newest ones rise yet.
CREATE OR REPLACE VIEW driftwheel.feedback_coverage AS
SELECT time, requests, judged, least(1, judged / requests) AS judged_share
FROM
(
    SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time, count() AS requests
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY time
) AS asked
LEFT JOIN
(
    SELECT toStartOfInterval(at - toIntervalMillisecond(toInt64(lag_s * 1000)), toIntervalSecond({step:UInt32})) AS time, uniq(inference_id) AS judged
    FROM driftwheel.feedback
    WHERE tenant = {tenant:String} AND matched AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')} + INTERVAL 3 DAY
      AND at - toIntervalMillisecond(toInt64(lag_s * 1000)) >= {since:DateTime('UTC')}
      AND at - toIntervalMillisecond(toInt64(lag_s * 1000)) < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY time
) AS said USING time
ORDER BY time
LIMIT 20000
