-- How feedback finds its inferences.
SELECT countIf(f.matched = 1) AS matched, countIf(f.matched = 0) AS waiting, medianIf(f.lag_s, f.matched = 1) AS lag_s
FROM driftwheel.feedback AS f FINAL
