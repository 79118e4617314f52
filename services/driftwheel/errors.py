"""
Every error of Driftwheel.

DriftwheelError                 anything we raise on purpose
├── ConfigError                 a setting is wrong: its path, what is known, the cure
├── MissingExtra                a part is not installed: which extra brings it
├── InUse                       a port is taken, a folder is locked by another process
├── Reject                      never retry: goes to the dead letters, with its reason
├── Busy                        slow down, then the same again
│   ├── BusFull                 the log cannot take more (disk, size)
│   └── StoreUnavailable        the store does not answer, or not in time
├── NotOwner                    a consumer lost its partition; what it did since is another's work now
├── StoreError                  the store refused: its code and its own words
├── TooManyRejects              a worker sees mostly bad events: that is a bad deploy, it pauses
├── Interrupted                 the process is to stop; the job in hand goes on at its next start
├── LauncherError               a training or evaluation process could not run or failed
└── ActionFailed                an action could not be carried out; a retry may help

`Reject` and `Busy` steer the flow; every other error stops what it meets.
"""


class DriftwheelError(Exception):
    """Anything that Driftwheel raises on purpose; its text names the place, what is wrong and the cure."""


class ConfigError(DriftwheelError):
    """A setting is wrong. The text is `path: what is wrong; what is known or how to mend it`."""


class MissingExtra(DriftwheelError):
    """A part that is not installed. The text names the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: pip install 'driftwheel[{extra}]'")


class InUse(DriftwheelError):
    """A port or a folder belongs to another process; the text says which and how to take another."""


class Reject(DriftwheelError):
    """This event can never be used. `reason` is a short word for counters, the text is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Busy(DriftwheelError):
    """Not now; the same again after `retry_after_s` seconds."""

    def __init__(self, detail: str, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class BusFull(Busy):
    """The log cannot take more: the disk is full or the log is at its bound."""


class StoreUnavailable(Busy):
    """The store does not answer, or not in time. What was sent may or may not have landed."""


class NotOwner(DriftwheelError):
    """The partition belongs to another member of the group now; drop what is in hand."""


class StoreError(DriftwheelError):
    """The store refused a statement. `code` is ClickHouse's error code."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class TooManyRejects(DriftwheelError):
    """Most of what a worker reads is bad. It stands still, acks nothing and says so on `/health/ready`."""


class Interrupted(DriftwheelError):
    """The process is to stop; the job in hand goes on at its next start."""


class LauncherError(DriftwheelError):
    """A process for training or evaluation could not start, or failed; the text carries its last lines."""


class ActionFailed(DriftwheelError):
    """An action could not be carried out and may be tried again."""
