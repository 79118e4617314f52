"""Notices to people, over any of the services that Apprise knows: Slack, Teams, Discord, Telegram, e-mail, PagerDuty, ntfy …"""

import logging
import re
import threading
from collections import deque
from collections.abc import Sequence
from typing import Self

from driftwheel.actions import Notice, Reach
from driftwheel.actions.reach import within
from driftwheel.actions.words import harmless, line, masked, secrets_in
from driftwheel.errors import ActionFailed, ConfigError, Reject

TOLD = 1000
"""Deliveries that are remembered, so that another attempt leaves out the services that have taken a notice."""
TYPES = {"page": "failure", "ticket": "warning", "incident.resolved": "success", "test": "info"}


class Apprise:
    """
    `url` is one of https://github.com/caronc/apprise#productivity-based-notifications, or a list of them.

    Title and text are plain text, defused (`words.harmless`); what is too long for a service comes in several messages. The last
    line names the notice: two messages of one attempt too many can be told from two incidents. Where the environment names a
    proxy (`HTTPS_PROXY`), that is what is connected to, and has to be allowed; the proxy then decides what may be reached.
    """

    def __init__(self, reach: Reach, *, url: str | Sequence[str]) -> None:
        """Raises `ConfigError` for a URL that Apprise cannot use, without the URL: it holds secrets."""
        import apprise  # 0.2 s

        asset = apprise.AppriseAsset(app_id="Driftwheel", app_desc="Driftwheel", interpret_emojis=False, http_redirects=False)
        self._reach, self._urls, self._services = reach, [url] if isinstance(url, str) else list(url), []
        self._told: deque[tuple[str, int]] = deque(maxlen=TOLD)
        if not self._urls:
            raise ConfigError("url: there is none; give one like slack://TokenA/TokenB/TokenC")
        for number, one in enumerate(self._urls, 1):
            with _Heard() as heard:
                service = apprise.Apprise.instantiate(one, asset=asset)
            if service is None:
                raise ConfigError(f"url: Apprise cannot use number {number}: {masked((heard.lines or ['unknown'])[0], secrets_in(one))}")
            service.redirects = False  # whatever the URL says
            service.socket_connect_timeout = service.socket_read_timeout = reach.timeout_s
            if "overflow=" not in one:
                service.overflow_mode = apprise.OverflowMode.SPLIT  # else a service refuses what is longer than it takes
            self._services.append(service)

    def send(self, notice: Notice) -> str:
        """Which services took it. Raises `Reject` only when every one that did not refused it for good (a 4xx)."""
        left = [number for number in range(len(self._services)) if (notice.id, number) not in self._told]
        failures = [why for number in left if (why := self._tell(number, notice))]
        if failures:
            said = "; ".join(map(str, failures))
            raise Reject("refused", said) if all(isinstance(why, Reject) for why in failures) else ActionFailed(said)
        return f"sent: {', '.join(str(service.service_name) for service in self._services)}"

    def _tell(self, number: int, notice: Notice) -> Reject | ActionFailed | None:
        """Why one service did not take *notice*. Apprise itself answers yes or no; the reason is in what it logs."""
        service = self._services[number]
        text = "\n".join(part for part in (harmless(notice.text), notice.link, f"notice {notice.id}") if part)
        kind = TYPES.get(notice.kind, TYPES[notice.severity])
        try:
            with within(self._reach), _Heard() as heard:
                if service.notify(body=text, title=line(notice.title), notify_type=kind, body_format="text"):
                    self._told.append((notice.id, number))
                    return None
        except Reject as refused:
            return refused
        said = " ".join(heard.lines)
        statuses = [int(status) for status in re.findall(r"error=(\d{3})\b", said)]
        final = statuses and all(300 <= status < 500 and status not in (408, 425, 429) for status in statuses)
        why = f"{service.service_name}: {masked(said or 'no reason given', secrets_in(self._urls[number]))}"
        return Reject("refused", why) if final else ActionFailed(why)


class _Heard(logging.Filter):
    """What Apprise logs in this thread, meanwhile; it is kept from the logs, which it would tell what URLs hold."""

    def __enter__(self) -> Self:
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        logging.getLogger("apprise").addFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep a warning; other threads deliver at the same time."""
        if record.thread == self._thread and record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())
        return record.thread != self._thread
