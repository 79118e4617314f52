"""A gate before the store: it can refuse, hold an insert back, or keep its answer, so that a kill hits the moment that is meant."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Literal

How = Literal["hold", "keep", "delay"]


class Gate:
    """
    A TCP relay on a port of its own.

    `catch("inferences", "hold")` keeps the next insert into that table from the store; `"keep"` lets it land and keeps the
    answer from the worker; `"delay"` keeps it until `release`. `caught` is set when that has happened; `free` cuts the
    connections: what was held never arrives.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.caught = Event()
        self.released = Event()
        self._open, self._lock = True, Lock()
        self._wanted: tuple[bytes, How] | None = None
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def refuse(self) -> None:
        """Cut every connection, and every new one."""
        self._open = False
        self.free()

    def admit(self) -> None:
        """Let through again."""
        self._open = True

    def catch(self, table: str, how: How) -> None:
        """Lie in wait for the next insert into *table*."""
        self.caught.clear()
        self.released.clear()
        self._wanted = f"driftwheel.{table}".encode(), how

    def release(self) -> None:
        """Let a delayed insert go on."""
        self.released.set()

    def free(self) -> None:
        """Cut the connections; what was held never arrives."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _cut(*pair)

    def close(self) -> None:
        self._listener.close()
        self.refuse()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if not self._open:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target), timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._pairs.add((client, server))
            kept = Event()
            Thread(target=self._up, args=(client, server, kept), daemon=True).start()
            Thread(target=self._down, args=(server, client, kept), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, kept: Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 18):
                wanted = self._wanted
                if wanted and b"INSERT" in data and wanted[0] in data:
                    self._wanted = None
                    if wanted[1] == "hold":
                        self.caught.set()
                        while client.recv(1 << 18):
                            pass  # to the end of the connection
                        break
                    if wanted[1] == "keep":
                        kept.set()
                    else:
                        self.caught.set()
                        self.released.wait()
                server.sendall(data)
        _cut(client, server)

    def _down(self, server: socket.socket, client: socket.socket, kept: Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 18):
                if kept.is_set():
                    self.caught.set()
                    continue
                client.sendall(data)
        _cut(client, server)


def _cut(*ends: socket.socket) -> None:
    """Shut down first: a close alone does not wake whoever reads there, and then the other side sees nothing."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def gate_to(port: int) -> Iterator[Gate]:
    """A gate to *port* on loopback."""
    gate = Gate(port)
    try:
        yield gate
    finally:
        gate.close()
