"""A real HTTP receiver on loopback that answers as it is told, and keeps what it got; over IPv6 and TLS, too."""

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOLD_S = 30.0
"""`for ever`: longer than any test is willing to wait."""


@dataclass(frozen=True, slots=True)
class Got:
    """One request; the names of *headers* are lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Receiver:
    """
    Answers with `status`, `headers` and `body`; where `echo` is set, with all that it was sent.

    `manner`: `hold` answers never, `cut` closes without an answer, `drip` sends a byte every 50 ms for ever, `flood` sends for ever.
    """

    port: int = 0
    status: int = 200
    body: bytes = b"thanks"
    headers: dict[str, str] = field(default_factory=dict)
    echo: bool = False
    manner: Literal["answer", "hold", "cut", "drip", "flood"] = "answer"
    got: list[Got] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def receiver(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    found = Receiver()

    class Handler(_Handler):
        receiver = found

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that went away is what some tests are about."""

    server = Server((host, 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        """Keep the request, then answer in the receiver's manner."""
        to = self.receiver
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        to.got.append(Got(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        to.arrived.set()
        if to.manner == "hold":
            to.over.wait(HOLD_S)
        if to.manner in ("hold", "cut"):
            self.close_connection = True
            return
        said = f"{self.path} {dict(self.headers)} {body.decode()}".encode() if to.echo else to.body
        self.send_response(to.status)
        for name, value in to.headers.items():
            self.send_header(name, value)
        if to.manner == "answer":
            self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        end = time.monotonic() + HOLD_S
        while to.manner in ("drip", "flood") and time.monotonic() < end and not to.over.wait(0.05 if to.manner == "drip" else 0):
            self.wfile.write(b"." if to.manner == "drip" else b"." * 65_536)

    do_GET = do_PUT = do_POST  # noqa: N815  the base class looks for these

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        """Nobody reads it."""


@contextmanager
def mailbox() -> Iterator[tuple[int, list[bytes]]]:
    """The least of SMTP (RFC 5321) that takes a mail, on a port of its own, and the mails that it got."""
    mails: list[bytes] = []

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while said := self.rfile.readline():
                if said[:4].upper() == b"DATA":
                    self.wfile.write(b"354 go\r\n")
                    mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
                self.wfile.write(
                    {b"EHLO": b"250-here\r\n250-SMTPUTF8\r\n250 AUTH PLAIN\r\n", b"AUTH": b"235 in\r\n"}.get(
                        said[:4].upper(), b"250 fine\r\n"
                    )
                )

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server.server_address[1], mails
        server.shutdown()
        thread.join()


def certified(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context for *name* (a host name or an address), and the file of the authority that a client has to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    alternative = x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = folder / f"{name}.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / f"{name}.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    return context, authority
