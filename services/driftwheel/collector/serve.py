"""The collector's server: uvicorn on one port, stopped gracefully."""

import asyncio
import errno
import socket

import uvicorn
from fastapi import FastAPI

from driftwheel.collector.settings import CollectorSettings
from driftwheel.errors import ConfigError, InUse
from driftwheel.memory import calm_memory


def listen(settings: CollectorSettings) -> socket.socket:
    """
    A socket at the host and port of *settings*.

    Raises `InUse` where the port belongs to another process, `ConfigError` for a host that is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, socket.SOCK_STREAM)
    except OSError as wrong:
        raise ConfigError(f"collector.host: {settings.host!r} is no address of this machine ({wrong.strerror}); take 127.0.0.1") from wrong
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(address)
        server.listen(2048)
    except OSError as wrong:
        server.close()
        if wrong.errno == errno.EADDRINUSE:
            raise InUse(_taken(settings.port)) from wrong
        raise ConfigError(
            f"collector.host: cannot listen on {settings.host}:{settings.port} ({wrong.strerror}); take another host or port"
        ) from wrong
    return server


def run(app: FastAPI, settings: CollectorSettings) -> None:
    """
    Serve *app* in an event loop of its own until SIGTERM or Ctrl-C. Raises `InUse` and `ConfigError` as `listen` does.

    The process then ends by that signal: what is to happen after the last request belongs into the app's lifespan.
    """
    calm_memory()
    with listen(settings) as where:
        serving(app, settings).run(sockets=[where])


async def serve(app: FastAPI, settings: CollectorSettings, stop: asyncio.Event, where: socket.socket) -> None:
    """
    Serve *app* at *where* (from `listen`) in this event loop until *stop* or a signal.

    Then refuse new requests and finish those under way, for `grace_s` at most.
    """
    server = serving(app, settings)
    serving_on = asyncio.create_task(server.serve(sockets=[where]))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving_on, stopping], return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    stopping.cancel()
    await serving_on


def serving(app: FastAPI, settings: CollectorSettings) -> uvicorn.Server:
    """A server for *app* that does not listen yet."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # it would name every event's arrival twice: the meters count them
        server_header=False,
        timeout_graceful_shutdown=int(settings.grace_s) or 1,
    )
    return uvicorn.Server(config)


def _taken(port: int) -> str:
    """
    What to do about a port that belongs to another process.

    >>> _taken(4318)
    'port 4318 is taken (an OpenTelemetry collector uses it too); stop what listens there or take another with --port'
    """
    neighbour = " (an OpenTelemetry collector uses it too)" if port == 4318 else ""
    return f"port {port} is taken{neighbour}; stop what listens there or take another with --port"
