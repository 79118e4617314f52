-- How many, which sum and which quantile each group shows in each of the windows (since, until].
SELECT tenant,
       if(has({by:Array(String)}, 'app'), app, '') AS app_,
       if(has({by:Array(String)}, 'environment'), environment, '') AS environment_,
       if(has({by:Array(String)}, 'provider'), provider, '') AS provider_,
       if(has({by:Array(String)}, 'model'), model, '') AS model_,
       if(has({by:Array(String)}, 'prompt_name'), prompt_name, '') AS prompt_name_,
       if(has({by:Array(String)}, 'prompt_version'), prompt_version, '') AS prompt_version_,
       sumForEach(arrayMap((a, b) -> toUInt64(accepted_at > a AND accepted_at <= b), {since:Array(DateTime64(6, 'UTC'))}, {until:Array(DateTime64(6, 'UTC'))})) AS counts,
       sumForEach(arrayMap((a, b) -> if(accepted_at > a AND accepted_at <= b, ifNull(value, 0.), 0.), {since:Array(DateTime64(6, 'UTC'))}, {until:Array(DateTime64(6, 'UTC'))})) AS totals,
       quantilesTDigestIf({quantile:Float64})(ifNull(value, 0.), accepted_at > {since:Array(DateTime64(6, 'UTC'))}[1])[1] AS recent,
       quantilesTDigestIf({quantile:Float64})(ifNull(value, 0.), accepted_at <= {since:Array(DateTime64(6, 'UTC'))}[1])[1] AS before
FROM driftwheel.measures(signal = {signal:String}, since = arrayMin({since:Array(DateTime64(6, 'UTC'))}), until = arrayMax({until:Array(DateTime64(6, 'UTC'))}))
WHERE (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
GROUP BY tenant, app_, environment_, provider_, model_, prompt_name_, prompt_version_
ORDER BY counts[1] DESC
LIMIT {limit:UInt32}
