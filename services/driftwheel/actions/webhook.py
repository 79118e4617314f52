"""A notice as a signed CloudEvent: Standard Webhooks 1.0.0 (standardwebhooks.com) over CloudEvents 1.0.2, structured JSON."""

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace

import msgspec

from driftwheel.actions import Notice, Reach
from driftwheel.actions.reach import Receiver
from driftwheel.actions.words import harmless, line
from driftwheel.errors import ConfigError

EVENT_BYTES = 65_536
"""A larger event is left out, and its size told in its place: the receiver has its id and the link."""


class Webhook:
    """
    POSTs `application/cloudevents+json`: `id` is the notice's, `type` is `io.driftwheel.incident.opened.v1` and so on, `data` is
    the notice, its words defused (`words.harmless`), and in `event` the event as it is in the topics: to be escaped by who shows it.

    `secret` is `whsec_` and the base64 of 24 to 64 random bytes; several, with blanks between, while one replaces another.
    """

    def __init__(
        self, reach: Reach, *, url: str, secret: str, headers: Mapping[str, str] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = [_key(one) for one in secret.split() or [""]]
        self._receiver = Receiver("webhook", url, headers or {}, reach)
        self._clock = clock

    def send(self, notice: Notice) -> str:
        """The receiver's answer; 410 means that it wants no more."""
        body, stamp = _cloud_event(notice), str(int(self._clock()))
        signed = f"{notice.id}.{stamp}.".encode() + body
        headers = {
            "content-type": "application/cloudevents+json; charset=UTF-8",
            "webhook-id": notice.id,
            "webhook-timestamp": stamp,
            "webhook-signature": " ".join(f"v1,{b64encode(hmac.digest(key, signed, 'sha256')).decode()}" for key in self._keys),
        }
        return self._receiver.post(body, headers)


def _cloud_event(notice: Notice) -> bytes:
    size = len(msgspec.json.encode(notice.data))
    told = asdict(replace(notice, app=line(notice.app), title=line(notice.title), text=harmless(notice.text), data={}))
    del told["data"]
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": told.pop("id"),
            "source": "/driftwheel",
            "type": f"io.driftwheel.{notice.kind}.v1",
            "subject": told.pop("subject"),
            "time": told.pop("at"),
            "datacontenttype": "application/json",
            "data": told | ({"event": notice.data} if size <= EVENT_BYTES else {"event_left_out_bytes": size}),
        }
    )


def _key(secret: str) -> bytes:
    text = secret.removeprefix("whsec_").rstrip("=")
    with suppress(ValueError):
        key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        if secret.startswith("whsec_") and 24 <= len(key) <= 64:
            return key
    raise ConfigError("secret: it must be whsec_ and the base64 of 24 to 64 bytes; make one: echo whsec_$(openssl rand -base64 32)")
