-- What do people say of the answers over time: the share of thumbs up (also accepted, correct, helpful) with its 95 % interval (Wilson), how much and how late?
-- Empty: no feedback that found its inference was given in this time range (send it with `driftwheel.feedback()` or POST /v1/feedback).
-- feedback: Feedback that found its inference, of all environments: it does not know its own.
-- thumbs: Thumbs of users (also accepted, correct, helpful).
-- thumbs_share: Thumbs up of users (also accepted, correct, helpful), of all thumbs; of all environments: feedback does not know its own.
-- thumbs_low_share: The lower end of its 95 % interval (Wilson): few thumbs, wide interval.
-- thumbs_high_share: The upper end of it.
-- corrections: Answers that people rather had had.
-- comments: Feedback with words.
-- lag_p50_s: Half of the feedback came within so long after its inference started.
-- lag_p95_s: 95 of 100 came within so long.
CREATE OR REPLACE VIEW driftwheel.feedback_over_time AS
SELECT time, feedback, thumbs, up / nullIf(thumbs, 0) AS thumbs_share,
       round((up + 1.9208 - 1.96 * sqrt(up * (thumbs - up) / nullIf(thumbs, 0) + 0.9604)) / (thumbs + 3.8416), 9) AS thumbs_low_share,
       round((up + 1.9208 + 1.96 * sqrt(up * (thumbs - up) / nullIf(thumbs, 0) + 0.9604)) / (thumbs + 3.8416), 9) AS thumbs_high_share,
       corrections, comments, lag[1] AS lag_p50_s, lag[2] AS lag_p95_s
FROM
(
    SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, count() AS feedback,
           countIf(source = 'user' AND name IN ('thumbs', 'accepted', 'correct', 'helpful') AND value IS NOT NULL) AS thumbs,
           countIf(source = 'user' AND name IN ('thumbs', 'accepted', 'correct', 'helpful') AND value > 0) AS up,
           countIf(correction != '') AS corrections, countIf(comment != '') AS comments,
           arrayMap(x -> if(isFinite(x), x, NULL), quantilesTDigest(0.5, 0.95)(lag_s)) AS lag
    FROM driftwheel.feedback
    WHERE tenant = {tenant:String} AND matched AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
    GROUP BY time
)
ORDER BY time
LIMIT 20000
