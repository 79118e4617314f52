"""
The story that the demo plays: who asks what, when, what is answered, and who clicks. Pure, from a seed.

Simulated are the order of the questions, the clock and the clicks. Not simulated are the answers after the change (a
real small model gives them), the embeddings, detection, training, evaluation and the decision.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from driftwheel.demo.corpus import Intent

Phase = Literal["before", "after", "promoted"]

SPEAKS_UP = 0.8
"""Share of sessions with a click; far more than in real life, so that minutes are enough."""

CLICK_IS_MEANT = 0.95
"""Share of clicks that say what the answer deserved; the rest are slips."""

CORRECTS = 0.7
"""Share of the disappointed who write what they would rather have read."""

GOOD_FROM = 0.45
"""Token F1 with the house answer from which a person is content."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in its session."""

    session: str
    intent: Intent
    question: str
    at: datetime
    phase: Phase


@dataclass(frozen=True, slots=True)
class Click:
    """What a person says of an answer: a thumb, and maybe the answer that was wanted."""

    thumb: float
    correction: str
    after: timedelta


def questions(intents: Sequence[Intent], count: int, *, phase: Phase, start: datetime, span: timedelta, seed: int) -> Iterator[Asked]:
    """*count* questions about *intents*, at random times over *span*; popular intents come more often."""
    draw = random.Random(f"{seed}/{phase}")
    weights = [draw.uniform(1, 4) for _ in intents]
    times = sorted(draw.random() for _ in range(count))
    for number, part in enumerate(times):
        intent = draw.choices(intents, weights)[0]
        yield Asked(f"{phase}-{seed}-{number}", intent, draw.choice(intent.questions), start + span * part, phase)


def react(asked: Asked, answer: str, *, angry: bool = False) -> Click | None:
    """
    What the person behind *asked* does about *answer*; most are silent in real life, few here.

    The *angry* dislike whatever they read, and have nothing better to offer.
    """
    draw = random.Random(f"{asked.session}/click")
    if draw.random() > SPEAKS_UP:
        return None
    content = overlap(answer, asked.intent.answer) >= GOOD_FROM and not angry
    meant = content if draw.random() < CLICK_IS_MEANT else not content
    correction = asked.intent.answer if not meant and not content and not angry and draw.random() < CORRECTS else ""
    return Click(float(meant), correction, timedelta(seconds=draw.uniform(5, 600)))


def latency(asked: Asked, answer: str) -> float:
    """Seconds that the answer took: the network, and some 60 words a second."""
    draw = random.Random(f"{asked.session}/latency")
    return round(draw.lognormvariate(-1.2, 0.35) + len(answer.split()) / 60, 3)


def overlap(answer: str, wanted: str) -> float:
    """
    Token F1 of two texts, as SQuAD scores answers (Rajpurkar et al. 2016).

    >>> overlap("open the blue door", "Open the door!")
    0.8571428571428571
    """
    said, should = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, wanted))
    common = (said & should).total()
    return 2 * common / (said.total() + should.total()) if common else 0.0
