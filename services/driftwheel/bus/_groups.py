"""
Consumer groups of the local bus: who is alive, who owns which partition, how far each group has come.

A member of a dead process is gone at once; one that is merely silent keeps its partitions until its lease is over. A
partition changes hands in two steps: who has to give it lets it go at its next beat, then another takes it under a new
epoch, so whoever lost it meanwhile, even for a moment, finds that out before it commits.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from driftwheel.bus import Claim
from driftwheel.bus._files import VERSION, connect, writing
from driftwheel.errors import NotOwner

SCHEMA = """
CREATE TABLE IF NOT EXISTS offsets (grp TEXT, topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (grp, topic, partition)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS members (grp TEXT, member TEXT, topics TEXT, process TEXT, seen REAL, PRIMARY KEY (grp, member)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (grp TEXT, topic TEXT, partition INTEGER, member TEXT, epoch INTEGER, PRIMARY KEY (grp, topic, partition)) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Member:
    """One consumer: its group, its topics, and the epoch under which it owns each partition."""

    group: str
    name: str
    topics: Sequence[str]
    epochs: dict[Claim, int] = field(default_factory=dict)


class Groups:
    """The file of all groups. One instance belongs to one thread."""

    def __init__(self, file: Path, *, synchronous: str, lease_s: float) -> None:
        self._lease_s = lease_s
        self._db = connect(file, synchronous, mode="rwc")
        if not self._db.execute("PRAGMA user_version").fetchone()[0]:
            self._db.executescript(f"{SCHEMA} PRAGMA user_version = {VERSION};")

    def beat(self, member: Member, partitions: Mapping[str, int], now: float) -> None:
        """Say that *member* is alive, give up what is another's by now, and take what is free and its own."""
        with writing(self._db):
            self._db.execute(
                "INSERT OR REPLACE INTO members VALUES (?, ?, ?, ?, ?)",
                (member.group, member.name, "\n".join(member.topics), process_name(), now),
            )
            alive = self._alive(member.group, now)
            owners = self._owners(member.group)
            epochs = {claim: epoch for claim, epoch in member.epochs.items() if owners.get(claim) == (member.name, epoch)}
            mine = assignment(alive, partitions)[member.name]
            for claim in set(epochs) - mine:
                self._set_owner(member.group, claim, "", epochs.pop(claim))
            for claim in mine - set(member.epochs):  # what was lost comes back at a later beat, so that its owner notices
                owner, epoch = owners.get(claim, ("", 0))
                if owner not in alive:
                    self._set_owner(member.group, claim, member.name, epoch + 1)
                    self._know(member.group, claim)
                    epochs[claim] = epoch + 1
        member.epochs = epochs  # as it is in the file: a transaction that failed changed nothing

    def commit(self, member: Member, claim: Claim, offset: int) -> None:
        """Everything below *offset* is done. Raises `NotOwner` when *claim* is another's by now."""
        with writing(self._db):
            owner = self._db.execute(
                "SELECT member, epoch FROM owners WHERE grp = ? AND topic = ? AND partition = ?",
                (member.group, claim.topic, claim.partition),
            ).fetchone()
            if owner != (member.name, member.epochs.get(claim)):
                raise NotOwner(f"{claim.topic}[{claim.partition}] of group {member.group} belongs to another member now")
            self._db.execute("INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?)", (member.group, claim.topic, claim.partition, offset))

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """For each partition that *group* ever owned, the next offset."""
        return dict(self._db.execute("SELECT partition, next FROM offsets WHERE grp = ? AND topic = ?", (group, topic)))

    def passed(self, topic: str) -> dict[str, dict[int, int]]:
        """Of every group that ever owned a partition of *topic*: how far it is."""
        found: dict[str, dict[int, int]] = {}
        for group, partition, offset in self._db.execute("SELECT grp, partition, next FROM offsets WHERE topic = ?", (topic,)):
            found.setdefault(group, {})[partition] = offset
        return found

    def leave(self, member: Member) -> None:
        """Let go of everything, so that others take over at once."""
        with writing(self._db):
            self._db.execute("DELETE FROM members WHERE grp = ? AND member = ?", (member.group, member.name))
            self._db.execute("UPDATE owners SET member = '' WHERE grp = ? AND member = ?", (member.group, member.name))
        member.epochs.clear()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _alive(self, group: str, now: float) -> dict[str, list[str]]:
        """The live members of *group* and their topics; the others are forgotten."""
        alive = {}
        for name, topics, process, seen in self._db.execute(
            "SELECT member, topics, process, seen FROM members WHERE grp = ?", (group,)
        ).fetchall():
            if now - seen <= self._lease_s and runs(process):
                alive[name] = topics.split("\n")
            else:
                self._db.execute("DELETE FROM members WHERE grp = ? AND member = ?", (group, name))
        return alive

    def _owners(self, group: str) -> dict[Claim, tuple[str, int]]:
        rows = self._db.execute("SELECT topic, partition, member, epoch FROM owners WHERE grp = ?", (group,))
        return {Claim(topic, partition): (member, epoch) for topic, partition, member, epoch in rows}

    def _know(self, group: str, claim: Claim) -> None:
        """From now on retention waits for *group*, though it has committed nothing yet."""
        self._db.execute("INSERT OR IGNORE INTO offsets VALUES (?, ?, ?, 0)", (group, claim.topic, claim.partition))

    def _set_owner(self, group: str, claim: Claim, member: str, epoch: int) -> None:
        self._db.execute("INSERT OR REPLACE INTO owners VALUES (?, ?, ?, ?, ?)", (group, claim.topic, claim.partition, member, epoch))


def assignment(alive: Mapping[str, Sequence[str]], partitions: Mapping[str, int]) -> dict[str, set[Claim]]:
    """
    Who should own what: the partitions of each topic, dealt out to the members that read it, in order of their names.

    >>> sorted((name, len(claims)) for name, claims in assignment({"a": ["t"], "b": ["t"]}, {"t": 3}).items())
    [('a', 2), ('b', 1)]
    """
    dealt: dict[str, set[Claim]] = {name: set() for name in alive}
    for topic, count in sorted(partitions.items()):
        readers = sorted(name for name, topics in alive.items() if topic in topics)
        for partition in range(count if readers else 0):
            dealt[readers[partition % len(readers)]].add(Claim(topic, partition))
    return dealt


def process_name(pid: int | None = None) -> str:
    """This process (or *pid*), told apart from a later one with the same number where the system says when it started."""
    pid = os.getpid() if pid is None else pid
    try:
        started = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        started = ""  # no /proc: the number alone
    return f"{pid}/{started}"


def runs(process: str) -> bool:
    """Whether the process of that name still runs."""
    pid = int(process.partition("/")[0])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return process_name(pid) == process
