-- How good are the answers by what can be read from them: refusals, empty ones, loops, broken JSON, another language than the prompt's?
-- Empty: no inference of this time range has these readings; they need logged texts (an answer's JSON is read where JSON was asked for).
-- refusal_share: Answers that open by declining, of those with words.
-- empty_share: Answers without a word, a tool call or an attachment, of all.
-- repeated_share: Answers that loop, of all.
-- json_valid_share: Answers that parse, of those that have to be JSON.
-- language_mismatch_share: Answers in another language than their prompt, of those whose languages are known.
-- response_chars: The mean length of an answer in characters.
CREATE OR REPLACE VIEW driftwheel.answers AS
SELECT toStartOfInterval(started_at, toIntervalSecond({step:UInt32})) AS time,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'refusal.flag'))) AS refusal_share,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'empty.flag'))) AS empty_share,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'repeated.flag'))) AS repeated_share,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'json.valid.flag'))) AS json_valid_share,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'language.mismatch.flag'))) AS language_mismatch_share,
       avg(arrayElementOrNull(readings.values, indexOf(readings.keys, 'length.response.chars'))) AS response_chars
FROM driftwheel.inferences
WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
  AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
  AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
GROUP BY time
ORDER BY time
LIMIT 20000
