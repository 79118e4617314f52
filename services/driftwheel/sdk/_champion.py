"""The champion of an app, asked of the collector and remembered for a while."""

import json
import threading
from collections.abc import Mapping
from time import monotonic

from driftwheel.sdk.transport import Request, Transport

TIMEOUT_S = 1.0
MAX_APPS = 1000


class Champions:
    """
    Answers of `GET /v1/champion/{app}` (`{"app": …, "model": …}`; 404 while there is none), kept *ttl_s* seconds.

    One thread asks, the others get what was known before. A question without an answer is asked again after *ttl_s*, not sooner.
    """

    def __init__(self, transport: Transport, headers: Mapping[str, str], ttl_s: float) -> None:
        self._transport, self._headers, self._ttl_s = transport, headers, ttl_s
        self._known: dict[str, tuple[float, str | None]] = {}
        self._asking = threading.Lock()

    def of(self, app: str) -> str | None:
        """The model that serves *app*; None where there is none, or nobody can tell."""
        asked_at, model = self._known.get(app, (float("-inf"), None))
        if monotonic() - asked_at < self._ttl_s or not self._asking.acquire(blocking=False):
            return model
        try:
            if len(self._known) >= MAX_APPS:
                self._known.clear()
            self._known[app] = (monotonic(), model)
            answer = self._ask(app)
            self._known[app] = (monotonic(), answer if answer is not None else model)
        finally:
            self._asking.release()
        return self._known[app][1] or None

    def _ask(self, app: str) -> str | None:
        """The model's name, empty where there is none; None for no answer."""
        from urllib.parse import quote

        try:
            answer = self._transport.send(Request("GET", f"/v1/champion/{quote(app, safe='')}", self._headers), TIMEOUT_S)
        except (OSError, ValueError):
            return None
        if answer.status == 404:
            return ""
        if answer.status != 200:
            return None
        try:
            told = json.loads(answer.body)
        except ValueError:
            return None
        model = told.get("model") if isinstance(told, dict) else None
        return model if isinstance(model, str) else None
