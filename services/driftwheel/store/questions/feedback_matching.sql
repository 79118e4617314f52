-- How feedback finds its inferences.
SELECT countIf(matched = 1) AS matched, countIf(matched = 0) AS waiting, medianIf(lag_s, matched = 1) AS lag_s
FROM driftwheel.feedback FINAL
