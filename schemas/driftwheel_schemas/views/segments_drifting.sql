-- Where is the drift? Segments by how many of their series have drifted in this time range; the first fifty.
-- Empty: no series drifted in this time range.
CREATE OR REPLACE VIEW driftwheel.segments_drifting AS
SELECT app, substringUTF8(segment, 1, 120) AS segment, uniqIf(series, drifted) AS drifting, uniq(series) AS watched, minIf(onset, drifted) AS first_onset,
       substringUTF8(arrayStringConcat(groupUniqArrayIf(10)(signal, drifted), ', '), 1, 200) AS signals, uniqIf(series, drifted AND severity = 'page') AS paging
FROM driftwheel.verdicts
WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
GROUP BY app, segment
HAVING drifting > 0
ORDER BY drifting DESC, app, segment
LIMIT 50
