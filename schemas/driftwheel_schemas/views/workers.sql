-- Who works, is it ready, how far is it behind, and when was it last heard? The newest sample of each role in each process; a hundred.
-- Empty: no worker wrote its numbers in this time range; `driftwheel doctor` tells which run.
CREATE OR REPLACE VIEW driftwheel.workers AS
SELECT role, instance, multiIf(heard_s >= 120, 'silent', ready, 'ready', 'not ready') AS state, lag_records, heard_s, toUInt8(state != 'ready') AS troubled
FROM
(
    SELECT labels['role'] AS role, instance, maxIf(last, name = 'driftwheel_worker_ready') = 1 AS ready, sumIf(last, name = 'driftwheel_worker_lag_records') AS lag_records,
           greatest(0, dateDiff('second', max(heard), {until:DateTime('UTC')})) AS heard_s
    FROM
    (
        SELECT name, instance, labels, argMax(value, at) AS last, max(at) AS heard
        FROM driftwheel.meters
        WHERE name IN ('driftwheel_worker_ready', 'driftwheel_worker_lag_records')
          AND at >= greatest({since:DateTime('UTC')}, {until:DateTime('UTC')} - INTERVAL 1 HOUR) AND at < {until:DateTime('UTC')}
        GROUP BY name, instance, labels
    )
    GROUP BY role, instance
)
ORDER BY troubled DESC, lag_records DESC, role, instance
LIMIT 100
