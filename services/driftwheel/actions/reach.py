"""
Outgoing requests: where they may go, and one POST that holds to it.

A URL in a setting, or a name server, may point into the network that Driftwheel runs in. So every connection that an action
opens is judged by the address that it goes to, at the moment it goes there: `within` watches Python's own audit events
(PEP 578), which any client raises that opens a socket, urllib3's and smtplib's too. What was judged is what is connected to;
a name that resolves differently a second time gains nothing, nor does a redirect, nor `http://2130706433/`.
"""

import functools
import socket
import sys
import threading
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import quote, unquote, urlsplit

from driftwheel.actions import Reach
from driftwheel.actions.words import masked, secrets_in
from driftwheel.errors import ActionFailed, ConfigError, Reject

NEVER = [
    ip_network(one)
    for one in ("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "fd20:ce::/32", "100.100.100.200", "168.63.129.16", "192.0.0.192")
]
"""Link-local, where 169.254.169.254 hands out a machine's credentials, and the same of AWS and Google (IPv6), Alibaba, Azure, Oracle."""
NAT64, UNICAST = ip_network("64:ff9b::/96"), ip_network("2000::/3")


@dataclass(slots=True)
class _Way:
    reach: Reach
    end: ExitStack
    host: str = ""


_way: ContextVar[_Way | None] = ContextVar("driftwheel_way", default=None)


@contextmanager
def within(reach: Reach) -> Iterator[None]:
    """
    In this thread, until the end of the block, connections go only where *reach* lets them, and each is cut after twice its
    `timeout_s`: a receiver could send a byte now and then for ever.

    Any other raises `Reject` out of the call that opens it, with the cure. Threads that are started meanwhile are not watched.
    """
    _watch_sockets()
    with ExitStack() as end:
        token = _way.set(_Way(reach, end))
        end.callback(_way.reset, token)
        yield


def refusal(address: str, host: str, allowed: Collection[str] = ()) -> str:
    """
    Why nothing may be sent to the IP *address* of *host*; empty when it may.

    >>> refusal("10.0.0.7", "db.internal")
    'db.internal is 10.0.0.7, which is no public address; if that is meant: [notify] allow_private = ["db.internal"]'
    >>> refusal("10.0.0.7", "db.internal", ["db.internal"]), refusal("2606:4700::6810:84e5", "example.com")
    ('', '')
    >>> refusal("::ffff:169.254.169.254", "meta", ["meta"])
    'meta is 169.254.169.254, which nothing is ever sent to: machines keep their credentials at such addresses'
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{host} would be looked up out of sight; give its address instead of its name"
    if isinstance(ip, IPv6Address):  # the IPv4 address that it stands for: behind a NAT64, mapped, or 6to4
        ip = IPv4Address(int(ip) & 0xFFFF_FFFF) if ip in NAT64 else ip.ipv4_mapped or ip.sixtofour or ip
    if ip.is_multicast or any(ip in network for network in NEVER):
        return f"{host} is {ip}, which nothing is ever sent to: machines keep their credentials at such addresses"
    if host in map(_plain, allowed) or (ip.is_global and (ip.version == 4 or ip in UNICAST)):
        return ""
    return f'{host} is {ip}, which is no public address; if that is meant: [notify] allow_private = ["{host}"]'


class Receiver:
    """
    A URL that takes POSTs. No redirect is followed, no proxy asked, TLS verifies the name, an answer is read to 64 KiB and
    waited for as `within` says. Errors name the host, never the rest of the URL.
    """

    def __init__(self, what: str, url: str, headers: Mapping[str, str], reach: Reach) -> None:
        """Raises `ConfigError` for what cannot be a URL or a header; user and password in *url* become a header."""
        try:
            parts = urlsplit(url)
            self._secure, self._host, self._port = parts.scheme == "https", _plain(parts.hostname or ""), parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not self._host or not _clean(url) or " " in url:
            raise ConfigError("url: it must be http:// or https:// and a host, in ASCII; say https://hooks.example.com/driftwheel")
        if not all(_clean(name) and _clean(value) for name, value in headers.items()):
            raise ConfigError(f"headers: names and values are printable ASCII; there are {list(headers)!a}")
        self._target = quote(f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}", safe="/%:@!$&'()*+,;=~?")
        user = unquote(f"{parts.username or ''}:{parts.password or ''}")
        auth = {"authorization": f"Basic {b64encode(user.encode()).decode()}"} if user != ":" else {}
        self._headers = auth | {name.lower(): value for name, value in headers.items()}
        self._secrets = secrets_in(url, *self._headers.values()) - {self._host} | {unquote(parts.password or "***")}
        self._name, self._reach = f"{what} at {self._host}", reach

    def post(self, body: bytes, headers: Mapping[str, str]) -> str:
        """What the receiver said. Raises `ActionFailed` for no answer, 408, 425, 429 and 5xx, `Reject` for the other refusals."""
        try:
            with within(self._reach):
                status, answer = self._ask(body, headers)
        except (OSError, HTTPException) as failure:
            raise ActionFailed(
                f"{self._name} does not answer: {masked(str(failure) or type(failure).__name__, self._secrets)}"
            ) from failure
        said = f"{status} {masked(answer.decode('utf-8', 'replace'), self._secrets)}".strip()
        if 200 <= status < 300:
            return said
        if status in (408, 425, 429) or status >= 500:
            raise ActionFailed(f"{self._name} answered {said}")
        cure = "; redirects are not followed, give the address that it leads to" if status < 400 else ""
        raise Reject("gone" if status == 410 else "refused", f"{self._name} refused: {said}{cure}")

    def _ask(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        connection = (HTTPSConnection if self._secure else HTTPConnection)(self._host, self._port, timeout=self._reach.timeout_s)
        with closing(connection):
            connection.request("POST", self._target, body, {"user-agent": "driftwheel", **self._headers, **headers})
            response = connection.getresponse()
            return response.status, response.read(65_536)


def _clean(text: object) -> bool:
    return isinstance(text, str) and text.isascii() and text.isprintable()


def _plain(host: object) -> str:
    return (host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)).lower().rstrip(".")


@functools.cache
def _watch_sockets() -> None:
    """Once a process: an audit hook stays for good. It costs the others 0.2 µs an audited event, of which few are frequent."""
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if not event.startswith("socket.") or (way := _way.get()) is None:
        return
    match event, arguments:
        case "socket.getaddrinfo" | "socket.gethostbyname", (host, *_):
            way.host = _plain(host)
        case "socket.connect" | "socket.sendto" | "socket.sendmsg", (socket.SocketType() as sock, (address, *_)):
            if why := refusal(_plain(address), way.host or _plain(address), way.reach.allow_private):
                sock.close()  # clients do so after an OSError only
                raise Reject("private_address", why)
            if event == "socket.connect" and isinstance(sock, socket.socket):
                _cut_later(sock.dup(), way)  # a copy, because TLS takes the socket out of its object


def _cut_later(copy: socket.socket, way: _Way) -> None:
    def cut() -> None:
        with suppress(OSError):  # it was not connected yet, or no more
            copy.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(2 * way.reach.timeout_s, cut)
    way.end.callback(copy.close)
    way.end.callback(timer.cancel)
    timer.start()
