-- Which triggers were there, where do they stand, and why? Pending ones first; the hundred newest.
-- Empty: no policy decided anything in this time range: no verdict that one looks at (`[[policies]]` in driftwheel.toml).
CREATE OR REPLACE VIEW driftwheel.triggers_told AS
SELECT at, state, app, policy, job, signal, substringUTF8(segment, 1, 120) AS segment, if(isFinite(evidence), evidence, NULL) AS evidence, onset,
       substringUTF8(reason, 1, 300) AS reason, incident_id::String AS incident, id::String AS trigger
FROM driftwheel.triggers FINAL
WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (state = 'pending' OR (at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}))
ORDER BY state = 'pending' DESC, at DESC
LIMIT 100
