"""Opens the folder, warms the engine up, listens, and ends in order: on SIGTERM, on Ctrl-C, or with its parent."""

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from driftwheel.errors import ConfigError, InUse
from driftwheel.store.embedded.config import Limits
from driftwheel.store.embedded.engine import Engine
from driftwheel.store.embedded.server import App
from driftwheel.store.embedded.users import Users

GRACE_S = 1
"""What is under way gets a second; a query that takes longer is killed, and its client asks again."""

PARENT_EVERY_S = 0.25
LAST_S = 10.0


def listen(host: str, port: int) -> socket.socket:
    """A bound socket that does not listen yet. Raises `InUse` for a taken port, `ConfigError` for a host that is not ours."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        where = socket.socket(family, socket.SOCK_STREAM)
    except OSError as wrong:
        raise ConfigError(f"store.host: {host!r} is no address of this machine ({wrong.strerror}); take 127.0.0.1") from wrong
    where.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        where.bind(address)
    except OSError as wrong:
        where.close()
        if wrong.errno == errno.EADDRINUSE:
            raise InUse(
                f"port {port} is taken; stop what listens there, or take another: [store] port, or --port (0 takes a free one)"
            ) from wrong
        raise ConfigError(f"store.host: cannot listen on {host}:{port} ({wrong.strerror}); take another host or port") from wrong
    return where


def run(folder: Path, where: socket.socket, users: Users, limits: Limits, ready: Callable[[int], None] | None) -> None:
    """Serve *folder* at *where* until a signal; the engine is closed on return."""
    import uvicorn

    class Server(uvicorn.Server):
        """Says when it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if ready and self.started:
                ready(int(where.getsockname()[1]))

    engine = Engine(folder, limits)
    warm(engine)
    config = uvicorn.Config(
        App(engine, users, limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = Server(config)
    with _signals(lambda: setattr(server, "should_exit", True)):
        server.run(sockets=[where])


@contextmanager
def _signals(end: Callable[[], None]) -> Iterator[None]:
    """The server raises the signal that ended it once more: here that ends nothing, so that the caller goes on and exits with 0."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: end()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def warm(engine: Engine) -> None:
    """Pay for first uses now: seconds, which the first client would wait for."""
    handle = engine.handle()
    try:
        for fmt in ("JSON", "JSONEachRow", "Native", "Buffers", "JSONCompact"):
            handle.run("SELECT number, toString(number), now64(3) FROM numbers(10)", fmt)
        handle.run("CREATE TEMPORARY TABLE warm (a Int8)")
        handle.insert(b"INSERT INTO warm", "JSONEachRow", [b'{"a":1}\n'])
        for _ in handle.stream(b"SELECT * FROM warm", "Native", {}):
            pass
    finally:
        handle.close()


def end_with_parent(pid: int) -> None:
    """End this process in order once the process *pid* has gone, however it went; by force if that takes ten seconds."""

    def watch() -> None:
        child = os.getppid() == pid
        while _alive(pid) and (not child or os.getppid() == pid):
            time.sleep(PARENT_EVERY_S)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(LAST_S)
        os._exit(1)

    threading.Thread(target=watch, name="store-parent", daemon=True).start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
