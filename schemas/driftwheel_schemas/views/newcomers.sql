-- Who comes for the first time, and who comes back? A user is new whose first inference of the last thirty days before this time range and in it falls into the interval.
-- Empty: no inference of this time range names a user (`user_id`).
-- new_users: Users whose first inference of the last thirty days before this time range, and in it, is in this step.
-- returning_users: The other users of this step.
CREATE OR REPLACE VIEW driftwheel.newcomers AS
SELECT time, newcomers AS new_users, greatest(0, toInt64(users) - toInt64(newcomers)) AS returning_users
FROM
(
    SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time, uniqCombined(12)(user_id) AS users
    FROM driftwheel.inferences
    WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
      AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
      AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
      AND user_id != ''
    GROUP BY time
) AS active
LEFT JOIN
(
    SELECT toStartOfInterval(first_at, toIntervalSecond({step:UInt32})) AS time, count() AS newcomers
    FROM
    (
        SELECT user_id, min(started_at) AS first_at
        FROM driftwheel.inferences
        WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} - INTERVAL 30 DAY AND started_at < {until:DateTime('UTC')}
          AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
          AND user_id != ''
        GROUP BY user_id
    )
    WHERE first_at >= {since:DateTime('UTC')}
    GROUP BY time
) AS first USING time
ORDER BY time
LIMIT 20000
