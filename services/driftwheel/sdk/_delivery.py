"""One batch of encoded events to the collector: compress, post, understand the answer, try again."""

import gzip
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import NamedTuple, Protocol

from driftwheel.sdk._notices import Notices
from driftwheel.sdk.transport import Request, Response, Transport

_draw = random.Random()
"""Of our own: a host that has seeded the global generator gets the numbers that it would get without us."""

AWAY = frozenset({408, 425, 429, 502, 503, 504})
"""Not now: tried again for as long as there is room in the queue."""
MAX_BROKEN = 8
"""Another 5xx may be this batch's own doing: after 8 tries (about a minute) it is given up, so that it blocks no other."""
MAX_BACKOFF_S = 30.0
MAX_RETRY_AFTER_S = 300.0


class Loss(NamedTuple):
    """Why an event was not taken: `reason` is a short word for counters, `detail` is for people."""

    reason: str
    detail: str


class Pause(Protocol):
    """Waits *seconds* (less, unless *firm*, when someone waits for the outcome); False means: stop trying."""

    def __call__(self, seconds: float, *, firm: bool) -> bool: ...


class Delivery:
    """
    Sends batches one after the other; `headers` are asked for with every try. `timeout_s` bounds one try.

    Waits between tries are drawn from 0 to `backoff_s` · 2^try, at most 30 s (full jitter); a `Retry-After` is kept to, up to 5 minutes.
    """

    def __init__(
        self,
        transport: Transport,
        headers: Callable[[], Mapping[str, str]],
        pause: Pause,
        notices: Notices,
        timeout_s: float,
        backoff_s: float,
    ) -> None:
        self._transport, self._headers, self._pause, self._notices = transport, headers, pause, notices
        self._timeout_s, self._backoff_s = timeout_s, backoff_s

    def deliver(self, kind: str, bodies: Sequence[bytes]) -> dict[int, Loss]:
        """The losses by index; what is not among them was taken. Blocks until all is decided."""
        body = gzip.compress(b"[" + b",".join(bodies) + b"]", compresslevel=1, mtime=0)
        broken = 0
        for attempt in count():
            try:
                answer = self._post(kind, body)
            except ValueError as wrong:
                return self._all(bodies, "refused", str(wrong))
            if answer is not None and answer.status not in AWAY:
                if answer.status == 413 and len(bodies) > 1:
                    return self._halves(kind, bodies)
                if answer.status < 500:
                    return self._decided(answer, kind, bodies)
                broken += 1
                if broken == MAX_BROKEN:
                    return self._all(bodies, "gave_up", f"/v1/{kind} answered {answer.status} {MAX_BROKEN} times")
            told = _retry_after(answer)
            jitter = min(1.0, told / 10) if told else min(MAX_BACKOFF_S, self._backoff_s * 2 ** min(attempt, 10))
            if not self._pause(told + _draw.uniform(0, jitter), firm=told > 0):
                return dict.fromkeys(range(len(bodies)), Loss("gave_up", "no answer in the time there was"))
        raise AssertionError  # count() does not end

    def _post(self, kind: str, body: bytes) -> Response | None:
        headers = {"content-type": "application/json", "content-encoding": "gzip", **self._headers()}
        try:
            answer = self._transport.send(Request("POST", f"/v1/{kind}", headers, body), self._timeout_s)
        except OSError as wrong:
            self._notices.warn("away", f"no answer from the collector ({wrong}); keeping events and trying again")
            return None
        if answer.status in AWAY or answer.status >= 500:
            self._notices.warn(f"status {answer.status}", f"the collector answered {answer.status}; keeping events and trying again")
        return answer

    def _halves(self, kind: str, bodies: Sequence[bytes]) -> dict[int, Loss]:
        """The collector's limit is lower than ours: the same events in two requests, and so on."""
        middle = len(bodies) // 2
        lost = self.deliver(kind, bodies[:middle])
        return lost | {middle + index: loss for index, loss in self.deliver(kind, bodies[middle:]).items()}

    def _decided(self, answer: Response, kind: str, bodies: Sequence[bytes]) -> dict[int, Loss]:
        lost = rejected_in(answer.body, len(bodies))
        for loss in list(lost.values())[:5]:
            self._notices.warn(f"rejected {loss.detail}", f"the collector rejects {kind}: {loss.detail}")
        if 200 <= answer.status < 300:
            return lost
        if len(lost) == len(bodies):
            return lost
        return self._all(bodies, "refused", f"/v1/{kind} answered {answer.status}") | lost

    def _all(self, bodies: Sequence[bytes], reason: str, detail: str) -> dict[int, Loss]:
        size = sum(map(len, bodies))
        self._notices.warn(f"{reason} {detail}", f"{len(bodies)} events ({size} bytes) {reason}: {detail}")
        return dict.fromkeys(range(len(bodies)), Loss(reason, detail))


def rejected_in(body: bytes, size: int) -> dict[int, Loss]:
    """What the answer says was rejected, by index; an answer that is no JSON rejects nothing."""
    try:
        answer = json.loads(body) if body else None
    except ValueError:
        return {}
    items = answer.get("rejected") if isinstance(answer, dict) else None
    lost: dict[int, Loss] = {}
    for item in items if isinstance(items, list) else ():
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, int) and 0 <= index < size:
            lost[index] = Loss("rejected", f"{str(item.get('path') or '')[:100]}: {str(item.get('error') or '')[:200]}")
    return lost


def _retry_after(answer: Response | None) -> float:
    """Seconds that the answer asks to wait, from a number or an HTTP date; 0 where it does not ask."""
    told = answer.headers.get("retry-after", "") if answer is not None else ""
    if not told:
        return 0.0
    try:
        seconds = float(told)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(told).timestamp() - time.time()
        except ValueError:
            return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
