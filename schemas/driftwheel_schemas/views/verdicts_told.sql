-- What has drifted, on which evidence, and why? The newest word on each alarm of this time range; the hundred newest.
-- Empty: no series drifted in this time range.
CREATE OR REPLACE VIEW driftwheel.verdicts_told AS
SELECT at, severity, app, signal, substringUTF8(segment, 1, 120) AS segment, if(resolved_at IS NULL, 'drifting', 'over') AS state, direction,
       if(isFinite(baseline), baseline, NULL) AS baseline, if(isFinite(current), current, NULL) AS current,
       if(isFinite(evidence), evidence, NULL) AS evidence, if(isFinite(level), level, NULL) AS level, onset, sample_size,
       substringUTF8(reason, 1, 300) AS reason, detector, substringUTF8(promise, 1, 200) AS promise
FROM
(
    SELECT *
    FROM driftwheel.verdicts
    WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
      AND drifted
    ORDER BY revision DESC
    LIMIT 1 BY id
)
ORDER BY at DESC
LIMIT 100
