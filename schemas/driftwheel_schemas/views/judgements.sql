-- How do judges and code score the answers over time? Mean scores of feedback whose source they are, and of late readings; ten names.
-- Empty: no judge, code or enrichment gave a score to an inference of this time range.
CREATE OR REPLACE VIEW driftwheel.judgements AS
SELECT time, score AS name, total / n AS value
FROM
(
    SELECT *, dense_rank() OVER (ORDER BY of_score DESC, score) AS place
    FROM
    (
        SELECT time, score, sum(part) AS total, sum(scores) AS n, sum(sum(scores)) OVER (PARTITION BY score) AS of_score
        FROM
        (
            SELECT toStartOfInterval(at, toIntervalSecond({step:UInt32})) AS time, substringUTF8(f.name, 1, 80) AS score, sum(f.value) AS part, count() AS scores
            FROM driftwheel.feedback AS f
            WHERE tenant = {tenant:String} AND matched AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
              AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
              AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
              AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
              AND source IN ('judge', 'code') AND isFinite(f.value)
            GROUP BY time, score
            UNION ALL
            SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time, substringUTF8(signal, 1, 80) AS score, sum(r.value) AS part, count() AS scores
            FROM driftwheel.late_readings AS r
            WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
              AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
              AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
              AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
              AND isFinite(r.value)
            GROUP BY time, score
        )
        GROUP BY time, score
    )
)
WHERE place <= 10
ORDER BY time, name
LIMIT 20000
