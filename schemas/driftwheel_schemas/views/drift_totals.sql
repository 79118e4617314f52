-- How does it stand with drift: open incidents now, and what was said in this time range?
-- Empty: nothing was ever said of this tenant's series.
CREATE OR REPLACE VIEW driftwheel.drift_totals AS
SELECT open_incidents, open_pages, oldest_open_s, opened, resolved, watched_series, drifting_series
FROM
(
    SELECT countIf(state = 'open') AS open_incidents, countIf(state = 'open' AND severity = 'page') AS open_pages,
           maxIf(dateDiff('second', opened_at, now()), state = 'open') AS oldest_open_s,
           countIf(opened_at >= {since:DateTime('UTC')} AND opened_at < {until:DateTime('UTC')}) AS opened,
           countIf(resolved_at >= {since:DateTime('UTC')} AND resolved_at < {until:DateTime('UTC')}) AS resolved
    FROM driftwheel.incidents FINAL
    WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS told,
(
    SELECT uniq(series) AS watched_series, uniqIf(series, drifted AND resolved_at IS NULL) AS drifting_series
    FROM driftwheel.verdicts
    WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
      AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS said
