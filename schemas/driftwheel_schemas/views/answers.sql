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
       avg(i.refusal) AS refusal_share,
       avg(i.empty) AS empty_share,
       avg(i.repeated) AS repeated_share,
       avg(i.json_valid) AS json_valid_share,
       avg(i.language_mismatch) AS language_mismatch_share,
       avg(i.response_chars) AS response_chars
FROM driftwheel.inferences AS i
WHERE tenant = {tenant:String} AND started_at >= {since:DateTime('UTC')} AND started_at < {until:DateTime('UTC')}
  AND (has({apps:Array(String)}, '*') OR app IN {apps:Array(String)})
  AND (has({environments:Array(String)}, '*') OR environment IN {environments:Array(String)})
  AND (has({models:Array(String)}, '*') OR model IN {models:Array(String)})
  AND (has({versions:Array(String)}, '*') OR prompt_version IN {versions:Array(String)})
GROUP BY time
ORDER BY time
LIMIT 20000
