"""What is said on stderr: ours in full, of the libraries what a person can use, and nothing twenty times a second."""

import logging
import sys

CHATTY = ("urllib3", "httpx", "asyncio", "filelock", "sentence_transformers", "faust", "mode", "aiokafka")
AGAIN_S = 10.0
"""A library's line comes at most so often: aiokafka writes twenty a second while a broker is away."""


class Sparing(logging.Filter):
    """Drops what a library said in the same words less than ten seconds ago; our own lines all pass."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """
        Whether *record* is written.

        >>> spare = Sparing()
        >>> lines = [logging.makeLogRecord({"name": "aiokafka", "msg": "gone %s", "args": (n,), "created": 4.0 * n}) for n in range(4)]
        >>> [spare.filter(line) for line in lines]
        [True, False, False, True]
        """
        if not record.name.startswith(CHATTY):
            return True
        key = record.name, str(record.msg)
        if record.created - self._said.get(key, -AGAIN_S) < AGAIN_S:
            return False
        if len(self._said) > 1_000:
            self._said.clear()
        self._said[key] = record.created
        return True


def begin(*, verbose: bool) -> None:
    """Log to stderr."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
