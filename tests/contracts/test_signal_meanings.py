"""What each signal says, by written examples; refusals, loops and languages also against texts that people labelled."""

import gzip
import json
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from driftwheel.signals import load
from driftwheel.signals.refusal import declines
from driftwheel_schemas import Attachment, Inference, Message, ToolCall

DATA = Path(os.environ.get("REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def event(**fields: Any) -> Inference:
    """A call of a model, everything else unset."""
    unset: dict[str, Any] = {"id": "i", "app": "a", "model": "gpt-4o", "started_at": datetime(2026, 1, 1, tzinfo=UTC)}
    return Inference(**(unset | fields))


def read(name: str, one: Inference, **params: Any) -> dict[str, float | str]:
    """The readings and labels that the signal called *name* has of *one*."""
    return dict(load(name, **params)(one))


def rows_of(name: str) -> list[dict[str, Any]]:
    """The rows of a third-party file, or a skip that says where it was looked for."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {DATA}; set REAL_DATA to the folder that has it")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_times_that_cannot_be_are_no_readings() -> None:
    """A clock that was set back does not become the fastest answer ever."""
    assert read("latency", event(latency_s=-1.0)) == read("ttft", event(ttft_s=-0.1)) == {}
    assert read("speed", event(output_tokens=5, latency_s=0.0)) == {}
    assert read("speed", event(output_tokens=5, latency_s=1.0, ttft_s=2.0)) == {}


def test_a_count_that_no_provider_gives_is_no_reading() -> None:
    """Less than none, and more than the store's column holds."""
    assert read("tokens", event(input_tokens=-1, output_tokens=2**32, cached_tokens=0)) == {"tokens.cached.count": 0.0}


def test_speed_counts_the_tokens_after_the_first() -> None:
    """The wait for the first token is another reading."""
    assert read("speed", event(output_tokens=101, latency_s=2.5, ttft_s=0.5)) == {"output.tokens_per_second": 50.0}
    assert read("speed", event(output_tokens=100, latency_s=2.0)) == {"output.tokens_per_second": 50.0}


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06"),
        ("", "gpt-4o"),
        ("", "openai/gpt-4o"),
        ("litellm", "openai/gpt-4o-2024-08-06"),
        ("azure.ai.openai", "gpt-4o"),
    ],
)
def test_a_model_has_its_price_by_every_common_spelling(provider: str, model: str) -> None:
    """1,000 tokens in (400 of them cached), 100 out: 600 x 2.50 + 400 x 1.25 + 100 x 10.00 dollars per million."""
    one = event(provider=provider, model=model, input_tokens=1000, cached_tokens=400, output_tokens=100)

    assert read("cost", one)["cost.usd"] == pytest.approx(0.003)


def test_a_reseller_has_its_own_price() -> None:
    """OpenRouter sells models under their makers' names; it gives no discount on cached tokens."""
    one = event(provider="openrouter", model="openai/gpt-4o", input_tokens=1000, cached_tokens=400, output_tokens=100)

    assert read("cost", one)["cost.usd"] == pytest.approx(0.0035)


def test_a_cost_is_known_or_not_said() -> None:
    """The app's own figure wins; the user's own machine and an unknown model are not free, they are unknown."""
    tokens = {"input_tokens": 1000, "output_tokens": 100}
    assert read("cost", event(cost_usd=Decimal("0.5"), **tokens)) == {"cost.usd": 0.5}
    assert read("cost", event(cost_usd=Decimal(0), **tokens)) == {"cost.usd": 0.0}
    assert read("cost", event(model="no-such-model", **tokens)) == {}
    assert read("cost", event(provider="vllm", **tokens)) == {}
    assert read("cost", event(input_tokens=1000)) == {}
    for nonsense in ("NaN", "sNaN", "Infinity", "-1", "1e400"):
        assert read("cost", event(cost_usd=Decimal(nonsense), **tokens)) == {}
    assert read("cost", event(model="deployment-7", response_model="gpt-4o-2024-08-06", provider="azure", **tokens))[
        "cost.usd"
    ] == pytest.approx(0.0035)


def test_own_prices_win_over_the_table() -> None:
    """Cached tokens cost as much as others unless a price for them is given; `provider/model` is more exact than `model`."""
    prices = {"gpt-4o": {"input": 1.0, "output": 2.0}, "azure/gpt-4o": {"input": 1.0, "output": 2.0, "cached": 0.0}}
    one = {"input_tokens": 1_000_000, "cached_tokens": 500_000, "output_tokens": 1_000_000}

    assert read("cost", event(**one), prices=prices) == {"cost.usd": 3.0}
    assert read("cost", event(provider="azure", **one), prices=prices) == {"cost.usd": 2.5}


DECLINING = [
    "I'm sorry, but I can't assist with that.",
    "I\u2019m sorry, but I can\u2019t help with that request.",
    "I cannot provide instructions for that.",
    "Unfortunately, I am not able to share personal information about private people.",
    "As an AI language model, I must decline to write this.",
    "I won't help you do that. It would hurt somebody.",
    "Sorry, I'm unable to generate such an image.",
    "I don't feel comfortable writing this.",
    "Thank you for asking. However, I can't fulfill this request.",
    "It is not appropriate to make jokes about this.",
    "Desculpe, mas não posso ajudar com isso.",
    "Sinto muito, mas não consigo fornecer essa informação.",
    "Infelizmente não posso atender a esse pedido.",
    "Lamento, não me é permitido gerar esse conteúdo.",
    "Não me sinto confortável em escrever isso.",
    "DESCULPE, NÃO POSSO RESPONDER A ESSA PERGUNTA.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Lamentablemente, no puedo proporcionar esa información.",
    "Me niego a escribir algo así.",
    "No es ético crear ese tipo de contenido.",
]
ANSWERING = [
    "I can't wait to see your photos! Here is a packing list.",
    "I can't help but admire your plan. Start with the roof.",
    "I cannot stress enough how important backups are.",
    "Sorry for the confusion earlier: the shop opens at nine.",
    "Unfortunately, the lamp is sold out until May.",
    "I'm sorry to hear that your parcel is late. It will be there tomorrow.",
    'The sentence "I can\'t help you with that" is in the present tense.',
    '"Sorry, I cannot help you," said the fox. The crow flew on.',
    "Write: `I cannot provide that` and press enter.",
    "You cannot provide two addresses; choose one.",
    "He said that he can't help his brother move.",
    "It is not safe to mix bleach and ammonia.",
    "Não posso deixar de elogiar o seu texto. Aqui vai a revisão.",
    "O cliente não pode fornecer dois endereços.",
    "Infelizmente, a luminária está esgotada até maio.",
    "No puedo esperar a ver tus fotos. Aquí tienes la lista.",
    "El cliente no puede dar dos direcciones.",
    "Of course. " + "First, measure the wall twice. " * 15 + "I can't help with the last step.",
    "",
]


@pytest.mark.parametrize("answer", DECLINING)
def test_an_answer_that_declines_is_seen(answer: str) -> None:
    """In three languages, with either apostrophe, in any case."""
    assert read("refusal", event(response=answer)) == {"refusal.flag": 1.0}


@pytest.mark.parametrize("answer", ANSWERING)
def test_an_answer_that_answers_is_left_alone(answer: str) -> None:
    """Regret, quotations and other people's inability are no refusals."""
    assert not declines(answer)


def test_refusals_agree_with_people() -> None:
    """On XSTest (2,051 answers that two people labelled as full compliance or full refusal): precision .95, recall .85."""
    rows = [
        row for row in rows_of("safety.jsonl.gz") if row["source"] == "xstest" and row.get("label", "3")[0] in "12" and row.get("response")
    ]
    flagged = [(declines(row["response"]), row["label"] == "2_full_refusal") for row in rows]
    hits = sum(said and is_refusal for said, is_refusal in flagged)

    assert len(rows) > 1_000
    assert hits / sum(said for said, _ in flagged) >= 0.95
    assert hits / sum(is_refusal for _, is_refusal in flagged) >= 0.85


def test_ordinary_answers_are_rarely_refusals_and_hardly_ever_loops() -> None:
    """Of 9,582 answers to ordinary questions, below 1.2% are flagged as refusals and below 0.2% as loops."""
    answers = [row["text"] for row in rows_of("responses.jsonl.gz") if row.get("text")]
    loops = sum(read("emptiness", event(response=answer))["repeated.flag"] == 1.0 for answer in answers)

    assert sum(map(declines, answers)) / len(answers) < 0.012
    assert loops / len(answers) < 0.002


def test_the_language_of_real_questions_is_told() -> None:
    """Of 500 questions in five languages at most 1 in 100 gets a wrong language and 3 in 100 none."""
    rows = rows_of("multilingual_queries.jsonl.gz")
    told = [(read("language", event(prompt=row["text"])).get("language.code"), row["lang"]) for row in rows]

    assert sum(code is None for code, _ in told) <= 0.03 * len(rows)
    assert sum(code not in (None, lang) for code, lang in told) <= 0.01 * len(rows)


def test_a_foreign_prompt_and_an_answer_in_another_language_are_flagged() -> None:
    """German asked, English answered, where English is the main language."""
    one = event(
        prompt="Ist die Lampe auch in einer größeren Ausführung mit Dimmer erhältlich?",
        response="Yes, the lamp also comes in a larger version with a dimmer, at the same price.",
    )

    assert read("language", one) == {"language.code": "de", "language.foreign.flag": 1.0, "language.mismatch.flag": 1.0}
    assert read("language", one, main="de")["language.foreign.flag"] == 0.0
    assert read("language", one, main=["en", "de"])["language.foreign.flag"] == 0.0


@pytest.mark.parametrize(
    "prompt", ["ok", "Hi!", "4711 4712 4713 4714 4715", "```python\nfor i in range(10):\n    print(i, file=out)\n```", "🎉" * 40]
)
def test_a_text_without_enough_words_has_no_language(prompt: str) -> None:
    """A guess would move the share of foreign prompts; nothing does not."""
    assert read("language", event(prompt=prompt)) == {}


def test_an_answer_of_tool_calls_or_pictures_is_not_empty() -> None:
    """Only an answer without anything is."""
    calls = (Message(role="assistant", tool_calls=(ToolCall(name="find"),)),)
    picture = (Message(role="assistant", attachments=(Attachment(media_type="image/png"),)),)

    assert read("emptiness", event(prompt="?", response=" \n")) == {"empty.flag": 1.0}
    assert read("emptiness", event(response=calls)) == read("emptiness", event(response=picture)) == {"empty.flag": 0.0}
    assert read("emptiness", event(response="", error_type="timeout")) == read("emptiness", event(operation="embeddings")) == {}


@pytest.mark.parametrize(
    ("answer", "loops"),
    [
        ("I am sorry. " * 30, 1.0),
        ("no " * 100, 1.0),
        ("你好吗" * 60, 1.0),
        ("A line of its own that comes again and again.\n" * 12, 1.0),
        ("Well, let me think about it. " + "The answer is forty-two. " * 40 + "Done.", 1.0),
        ("ha ha ha ha ha ha", 0.0),
        (json.dumps([{"name": f"item {n}", "value": n * 7 % 13, "ok": True} for n in range(60)]), 0.0),
        ("\n".join(f"| {n} | {n * n} | yes |" for n in range(60)), 0.0),
        ("\n".join(f"{n}. Step {n}: press the button marked {n}." for n in range(40)), 0.0),
    ],
)
def test_a_loop_is_told_from_a_list(answer: str, loops: float) -> None:
    """Tables and lists repeat their frame; a loop repeats everything."""
    assert read("emptiness", event(response=answer))["repeated.flag"] == loops


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"a": 1}', 1.0),
        ("[]", 1.0),
        (' "text" ', 1.0),
        ("```json\n{}\n```", 0.0),
        ("{'a': 1}", 0.0),
        ('{"a": NaN}', 0.0),
        ("", 0.0),
        ("[" * 100_000, 0.0),
    ],
)
def test_json_is_json_or_not(answer: str, valid: float) -> None:
    """What the app's parser would not read is not valid, however close it comes."""
    assert read("json_valid", event(prompt="?", response=answer, response_format="json")) == {"json.valid.flag": valid}


def test_an_app_that_logs_no_texts_has_no_empty_answers() -> None:
    """OpenTelemetry's default leaves texts out: that is no sign of a broken model."""
    quiet = event(latency_s=1.0, output_tokens=50, response_format="json")

    assert read("emptiness", quiet) == read("length", quiet) == read("json_valid", quiet) == read("refusal", quiet) == {}


def test_json_is_judged_only_where_it_was_asked_for() -> None:
    """Neither prose nor tool calls nor a failed call are invalid JSON."""
    calls = (Message(role="assistant", tool_calls=(ToolCall(name="find"),)),)

    assert read("json_valid", event(response="hello")) == {}
    assert read("json_valid", event(response=calls, response_format="json")) == {}
    assert read("json_valid", event(response_format="json", error_type="timeout")) == {}
