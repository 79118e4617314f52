-- How does it stand with drift: open incidents now, and what was said in this time range?
-- Empty: nothing was ever said of this tenant's series.
-- open_incidents: Incidents that are open now.
-- open_pages: Those of them that may wake somebody.
-- oldest_open_s: How long the oldest of them is open.
-- opened: Incidents that were opened in this time range.
-- resolved: Incidents that were resolved in this time range.
-- watched_series: Series of which anything was said in this time range.
-- drifting_series: Those of them whose newest word says that they have drifted.
CREATE OR REPLACE VIEW driftwheel.drift_totals AS
SELECT open_incidents, open_pages, oldest_open_s, opened, resolved, watched_series, drifting_series
FROM
(
    SELECT countIf(state = 'open') AS open_incidents, countIf(state = 'open' AND severity = 'page') AS open_pages,
           greatest(0, maxIf(dateDiff('second', opened_at, {until:DateTime('UTC')}), state = 'open')) AS oldest_open_s,
           countIf(opened_at >= {since:DateTime('UTC')} AND opened_at < {until:DateTime('UTC')}) AS opened,
           countIf(resolved_at >= {since:DateTime('UTC')} AND resolved_at < {until:DateTime('UTC')}) AS resolved
    FROM driftwheel.incidents FINAL
    WHERE tenant = {tenant:String} AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
) AS told,
(
    SELECT count() AS watched_series, countIf(drifts) AS drifting_series
    FROM
    (
        SELECT argMax(drifted AND resolved_at IS NULL, (at, revision)) AS drifts
        FROM driftwheel.verdicts
        WHERE tenant = {tenant:String} AND at >= {since:DateTime('UTC')} AND at < {until:DateTime('UTC')}
          AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
        GROUP BY series
    )
) AS said
