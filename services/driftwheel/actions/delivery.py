"""
The outbox: what was decided to be told is delivered in its order, again and again until it landed or its time is over.

A kill between a delivery and its note delivers it again under the same id; a receiver that minds ids sees it once. Of one
incident the end follows the opening, and is told only to whom the opening was.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import msgspec

from driftwheel.actions import Action, Notice
from driftwheel.errors import ActionFailed, Reject
from driftwheel.pipeline import Row
from driftwheel.pipeline.health import Health
from driftwheel.pipeline.patience import Patience
from driftwheel.pipeline.series import instant, parameter
from driftwheel.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 20
LOOKS_EVERY_S = 0.5
FIRST_S, MOST_S = 2.0, 300.0
"""The wait before a second attempt, doubled at each further one up to five minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifySettings:
    """
    How people and other systems are told.

    `allow_private` names hosts in private networks (an Alertmanager of one's own) that actions may reach; all other private
    addresses are refused. `link` stands in every notice; `{id}` in it is the incident's. After `retry_for` a notice is given up.
    """

    allow_private: Sequence[str] = ()
    link: str = ""
    retry_for: timedelta = timedelta(hours=24)
    timeout_s: float = 10.0


@dataclass(slots=True)
class Delivery:
    """Delivers for each action by itself, so that one that hangs delays no other. *duty* says whether this process is the one to do it."""

    store: Store
    actions: Mapping[str, Action]
    settings: NotifySettings
    clock: Callable[[], datetime]
    duty: Callable[[], bool]
    health: Health = field(default_factory=Health)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until *stop*."""
        self.health.ready = True
        async with asyncio.TaskGroup() as group:
            for name in self.actions:
                group.create_task(self._serve(name, stop), name=f"deliver-{name}")

    async def _serve(self, name: str, stop: asyncio.Event) -> None:
        patience = Patience(f"delivery to {name}", waits=self.health.waits, gave_up=stop.is_set)
        every = timedelta(seconds=getattr(self.actions[name], "renews_s", 0.0))
        renewed = self.clock()
        while not stop.is_set():
            self.health.alive()
            done = await patience(lambda: asyncio.to_thread(self.deliver, name)) if self.duty() else 0
            if every and self.duty() and self.clock() - renewed >= every:
                renewed = self.clock()
                await patience(lambda: asyncio.to_thread(self.renew, name))
            if not done:
                try:
                    await asyncio.wait_for(stop.wait(), LOOKS_EVERY_S)
                except TimeoutError:
                    continue

    def deliver(self, name: str) -> int:
        """Deliver what is due for the action *name*, some of it; how many were looked at. Raises what the store raises."""
        now = self.clock()
        rows = self.store.ask("outbox_due", {"action": name, "now": parameter(now), "limit": AT_ONCE})
        snoozes = self.store.ask("snoozes", {"now": parameter(now)}) if rows else []
        for row in rows:
            self._settle(row, self._outcome(name, row, snoozes))
        return len(rows)

    def renew(self, name: str) -> int:
        """Tell the action *name* again what stands, as its receiver forgets; how many. What fails now is told the next time."""
        rows = self.store.ask("outbox_standing", {"action": name})
        for row in rows:
            try:
                self.actions[name].send(msgspec.json.decode(row["notice"], type=Notice))
            except Exception as failed:  # one action's bug does not stop the others  # noqa: BLE001
                log.warning("action %s cannot be told again what stands: %r", name, failed)
                return 0
        self.health.count({"renewed": len(rows)})
        return len(rows)

    def _outcome(self, name: str, row: Row, snoozes: Sequence[Row]) -> Row:
        """What becomes of *row*: the columns that change."""
        if row["kind"] == "incident.resolved" and row["opening"] != "sent":
            return _done(
                "skipped", f"its opening was {row['opening'] or 'never'} told here" if row["opening"] else "its opening was not told here"
            )
        if row["kind"] == "incident.opened" and (snooze := _snoozed(row, snoozes)):
            return {"state": "pending", "detail": f"snoozed: {snooze['reason']}"[:400], "due_at": snooze["until"]}
        if row["over"] and row["detail"].startswith("snoozed"):
            return _done("skipped", "it was over before its snooze was")
        return self._attempt(name, row)

    def _attempt(self, name: str, row: Row) -> Row:
        attempts, now = row["attempts"] + 1, self.clock()
        try:
            said = self.actions[name].send(msgspec.json.decode(row["notice"], type=Notice))
        except Reject as refused:
            log.error("action %s: %s %s will never be delivered: %s", name, row["kind"], row["id"], refused)  # noqa: TRY400  a sentence
            return _done("failed", str(refused)) | {"attempts": attempts}
        except ActionFailed as failed:
            why = str(failed)
        except Exception as bug:  # one action's bug does not stop the others
            log.exception("action %s: %s %s", name, row["kind"], row["id"])
            why = f"{type(bug).__name__}: {bug}"
        else:
            return _done("sent", said) | {"attempts": attempts}
        pauses = [min(MOST_S, FIRST_S * 2**n) for n in range(attempts)]
        if sum(pauses) >= self.settings.retry_for.total_seconds():  # of trying, not since the decision: it may have been snoozed
            log.error("action %s: %s %s is given up after %d attempts: %s", name, row["kind"], row["id"], attempts, why)
            return _done("failed", why) | {"attempts": attempts}
        log.warning("action %s: %s %s: %s; attempt %d, it will be tried again", name, row["kind"], row["id"], why, attempts)
        return {"attempts": attempts, "detail": why[:400], "due_at": instant(now + timedelta(seconds=pauses[-1]))}

    def _settle(self, row: Row, change: Row) -> None:
        kept = {
            name: row[name]
            for name in ("tenant", "id", "app", "action", "kind", "subject", "attempts", "detail", "notice", "decided_at", "due_at")
        }
        settled = kept | {"state": "pending", "done_at": None} | change | {"revision": row["revision"] + 1}
        if settled["state"] != "pending":
            settled["done_at"] = instant(self.clock())
        self.store.insert("outbox", [settled])
        self.health.count({"tried_again" if settled["state"] == "pending" else settled["state"]: 1})


def _snoozed(row: Row, snoozes: Iterable[Row]) -> Row | None:
    """The snooze that silences *row* longest."""
    holding = [one for one in snoozes if _silences(one, row)]
    return max(holding, key=lambda one: str(one["until"]), default=None)


def _silences(snooze: Row, row: Row) -> bool:
    if snooze["tenant"] != row["tenant"]:
        return False
    if snooze["incident_id"]:
        return bool(snooze["incident_id"] == row["subject"])
    signals = row["signals"] or [""]
    return fnmatchcase(row["app"], snooze["app"] or "*") and any(fnmatchcase(signal, snooze["signal"] or "*") for signal in signals)


def _done(state: str, detail: str) -> Row:
    return {"state": state, "detail": detail[:400]}
