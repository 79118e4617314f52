"""One suite for every action of the table ACTIONS: what it delivers, what it does when it cannot, and what it never does."""

import email
import email.policy
import json
import logging
import re
import socket
import sys
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from driftwheel.actions import ACTIONS, Action, ActionUse, Notice, Reach, load
from driftwheel.actions.reach import refusal, within
from driftwheel.actions.words import harmless, line
from driftwheel.errors import ActionFailed, ConfigError, Reject, StoreUnavailable
from driftwheel_schemas import Incident, Trigger, derived_id
from receiving import Receiver, certified, mailbox, receiver

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY, OTHER_KEY = (f"whsec_{b64encode(byte * 32).decode()}" for byte in (b"k", b"o"))
HOME = ("127.0.0.1", "localhost", "::1")
INCIDENT = Incident(
    id="5d0a5b5e-0000-5000-8000-00000000000a",
    app="shop",
    state="open",
    severity="page",
    title="refusal.flag is up",
    reason="19% are refusals, 2% were before",
    signals=("refusal.flag", "response.chars"),
    segments=("model=m",),
    verdicts=("5d0a5b5e-0000-5000-8000-000000000004",),
    detector="flag_rate",
    onset=AT - timedelta(hours=2),
    opened_at=AT,
    changed_at=AT,
)


def notice(**changes: Any) -> Notice:
    """A notice of INCIDENT's opening."""
    made = Notice(
        id="0f1e2d3c-0000-5000-8000-000000000001",
        kind="incident.opened",
        tenant="default",
        app="shop",
        severity="page",
        subject=INCIDENT.id,
        title="Page: refusal.flag is up",
        text="19% are refusals, 2% were before.",
        link="https://grafana.example.com/d/driftwheel?var-incident=5d0a5b5e",
        at=AT,
        starts_at=AT - timedelta(hours=2),
        labels={"detector": "flag_rate", "signal": "refusal.flag"},
        data=msgspec.to_builtins(INCIDENT),
    )
    return replace(made, **changes)


@dataclass(slots=True)
class Told:
    """What arrived of one delivery: the idempotency key, title and text."""

    id: str
    title: str
    text: str


@dataclass(slots=True)
class Place:
    """Where one action delivers to: a real receiver, and for `retrain` the start of triggers in front of it."""

    receiver: Receiver
    started: list[Trigger] = field(default_factory=list)

    def start(self, trigger: Trigger) -> None:
        """As the store and the bus do: busy for a while, or a refusal, or done."""
        if self.receiver.manner != "answer" or self.receiver.status in (408, 425, 429) or self.receiver.status >= 500:
            raise StoreUnavailable("the store does not answer")
        if self.receiver.status >= 300:
            raise Reject("refused", "no such app")
        self.started.append(trigger)

    def told(self) -> list[Told]:
        """Everything that was delivered."""
        return [Told(trigger.id, trigger.reason, trigger.reason) for trigger in self.started] + [
            _told(got.body) for got in self.receiver.got
        ]


def _told(body: bytes) -> Told:
    found = json.loads(body)
    if isinstance(found, list):
        alert = found[0]
        return Told(alert["labels"]["incident"], alert["annotations"]["summary"], alert["annotations"]["description"])
    if "specversion" in found:
        return Told(found["id"], found["data"]["title"], found["data"]["text"])
    return Told(found["message"].rpartition("notice ")[2], found["title"], found["message"])


PARAMS: Mapping[str, Callable[[str], Mapping[str, Any]]] = {
    "webhook": lambda at: {"url": f"http://{at}/hooks/s3cr3t-path", "secret": KEY, "headers": {"X-Token": "s3cr3t-header"}},
    "alertmanager": lambda at: {"url": f"http://robot:s3cr3t-password@{at}/am", "headers": {"X-Token": "s3cr3t-header"}},
    "apprise": lambda at: {"url": f"json://robot:s3cr3t-password@{at}/s3cr3t-path?+X-Token=s3cr3t-header"},
    "retrain": lambda at: {},
}
"""Parameters of each action that let it deliver to host:port."""
OVER_HTTP = sorted(set(PARAMS) - {"retrain"})


@pytest.fixture
def place() -> Iterator[Place]:
    """A receiver that takes everything."""
    with receiver() as found:
        yield Place(found)


def made(name: str, place: Place, at: str = "", **reach: Any) -> Action:
    """The action *name* on its way to *place*."""
    params = PARAMS[name](at or f"127.0.0.1:{place.receiver.port}")
    return load(
        ActionUse(name="one", use=name, params=params), replace(Reach(allow_private=HOME, timeout_s=2.0, start=place.start), **reach)
    )


def test_every_action_of_the_table_is_in_this_suite() -> None:
    """A new action joins by one line of parameters."""
    assert set(PARAMS) == set(ACTIONS)


@pytest.mark.parametrize("name", ACTIONS)
def test_a_notice_arrives_and_the_answer_is_one_line(name: str, place: Place) -> None:
    """What the receiver said comes back for the outbox's row."""
    said = made(name, place).send(notice())

    assert said.isprintable()
    assert said
    (told,) = place.told()
    assert "refusal.flag is up" in told.title


@pytest.mark.parametrize("name", ACTIONS)
def test_another_attempt_has_the_same_id(name: str, place: Place) -> None:
    """The receiver can tell a repetition from another notice, also one that a new process sends."""
    for _ in range(2):
        made(name, place).send(notice())

    first, second = place.told()
    assert first.id == second.id != ""


@pytest.mark.parametrize("name", ACTIONS)
def test_one_action_serves_several_threads(name: str, place: Place) -> None:
    """Each notice arrives once, and none of the threads is judged by another's permission."""
    action, refused = made(name, place), made(name, place, allow_private=())
    notices = [
        notice(id=f"n{n}", subject=f"s{n}", data=msgspec.to_builtins(replace(INCIDENT, id=f"s{n}")), title=f"Page: number {n}")
        for n in range(16)
    ]
    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(action.send, one) for one in notices]
        not_done = [threads.submit(refused.send, one) for one in notices] if name in OVER_HTTP else []
    assert all(one.result() for one in done)
    assert all(isinstance(one.exception(), Reject) for one in not_done)

    assert len({told.id for told in place.told()}) == len(place.told()) == 16


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_receiver_that_cannot_now_is_tried_again(name: str, status: int, place: Place) -> None:
    """Too much, too early, broken for a while: ActionFailed, in a line."""
    place.receiver.status = status

    with pytest.raises(ActionFailed) as failed:
        made(name, place).send(notice())
    assert str(failed.value).isprintable()


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("manner", ["hold", "cut"])
def test_a_receiver_that_does_not_answer_is_tried_again(name: str, manner: Any, place: Place) -> None:
    """Silence ends after `timeout_s`; a closed connection at once."""
    place.receiver.manner = manner
    began = time.monotonic()

    with pytest.raises(ActionFailed):
        made(name, place, timeout_s=0.2).send(notice())
    assert time.monotonic() - began < 5  # HOLD_S is 30


@pytest.mark.parametrize("name", OVER_HTTP)
def test_nobody_at_home_is_tried_again(name: str, place: Place) -> None:
    """A refused connection, and a name that nobody knows."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    for at in (f"127.0.0.1:{free}", "nobody.invalid:80"):
        with pytest.raises(ActionFailed):
            made(name, place, at).send(notice())


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 413, 422])
def test_a_refusal_is_final(name: str, status: int, place: Place) -> None:
    """The same request would be refused again: Reject."""
    place.receiver.status = status

    with pytest.raises(Reject):
        made(name, place).send(notice())


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("manner", ["drip", "flood"])
def test_an_answer_without_end_holds_nobody(name: str, manner: Any, place: Place) -> None:
    """A byte now and then, or a gigabyte: it is over after twice `timeout_s`, whatever came of it."""
    place.receiver.manner = manner
    began = time.monotonic()

    try:
        made(name, place, timeout_s=0.2).send(notice())
    except ActionFailed:
        pass  # either is right: it was delivered, the answer is what is missing
    assert time.monotonic() - began < 5


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> &lt;b&gt;",
    "first\r\nSubject: second\n\n::\x00\x1b[2J\x07\x9b31m\u202egnirts\u2066",
    "@everyone @here @channel @room <!here> <!channel|x> <@U024BE7LH> <@&123> <users/all> <at>all</at>",
    "[your bank](http://evil.example) ![](http://evil.example/x.png) [a]: http://evil.example",
    '"}],"injected":true,"x":[{"',
    "lone \ud800 surrogate",
    "x" * 100_000,
    "\u202e" * 100_000,
)
MENTION = re.compile(r"@(?:everyone|here|channel|room|all)|[<>]|\]\(|\]:|[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("name", ACTIONS)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_what_an_app_wrote_is_words_and_nothing_else(name: str, text: str, place: Place) -> None:
    """No markup, no mention, no link under another name, no control character, no second line in a title, and not 100 kB."""
    told_incident = msgspec.to_builtins(replace(INCIDENT, title=text.encode("utf-8", "replace").decode()))
    made(name, place).send(notice(title=text, text=text, data=told_incident))

    (told,) = place.told()
    assert not MENTION.search(told.title)
    assert not MENTION.search(told.text.rpartition("\nhttps://")[0] or told.text)
    assert len(told.title.splitlines()) <= 1
    assert len(told.title) < 300
    assert len(told.text) < 5_000
    assert all(len(got.body) < 140_000 for got in place.receiver.got)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("status", [200, 302, 404, 503])
def test_no_secret_gets_into_answers_errors_or_logs(
    name: str, status: int, place: Place, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not even from a receiver that repeats all that it was sent."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.DEBUG, logger="apprise")
    place.receiver.status, place.receiver.echo = status, True
    said = ""
    try:
        said = made(name, place).send(notice())
    except (Reject, ActionFailed) as failure:
        said = "".join(traceback.format_exception(failure))

    (got,) = place.receiver.got
    assert "s3cr3t" in f"{got}" or "Basic cm9ib3Q6czNjcjN0" in f"{got}"
    everything = said + caplog.text + "".join(capfd.readouterr())
    for secret in ("s3cr3t", KEY, "cm9ib3Q6czNjcjN0"):  # the last is robot:s3cr3t in base64
        assert secret not in re.sub(r'(?m)^\s*(?:File "|"url"|\^).*$', "", everything)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(name: str, status: int, place: Place) -> None:
    """Neither where it could be, nor where it should not: what is signed or secret goes to the host that was named."""
    with receiver() as other:
        place.receiver.status = status
        place.receiver.headers["location"] = f"http://127.0.0.1:{other.port}/"
        with pytest.raises(Reject):
            made(name, place).send(notice())

        assert not other.got


def test_a_redirect_is_not_followed_where_the_url_asks_for_it(place: Place) -> None:
    """Apprise has a parameter for it; it is not obeyed."""
    with receiver() as other:
        place.receiver.status = 307
        place.receiver.headers["location"] = f"http://127.0.0.1:{other.port}/"
        url = f"json://127.0.0.1:{place.receiver.port}/?redirect=yes"
        with pytest.raises(Reject):
            load(ActionUse(name="one", use="apprise", params={"url": url}), Reach(allow_private=HOME)).send(notice())

        assert not other.got


PRIVATE_SPELLINGS = (
    "127.0.0.1",
    "localhost",
    "LOCALHOST",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0.0.0.0",
    socket.gethostname(),
)


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("host", PRIVATE_SPELLINGS)
def test_a_private_host_is_refused_with_the_cure(name: str, host: str, place: Place) -> None:
    """However it is written, and whatever resolves to it; nothing is sent, and the sentence says what to set."""
    try:
        private = {found[4][0] for found in socket.getaddrinfo(host, 80)} <= {"127.0.0.1", "127.0.1.1", "0.0.0.0", "::1"}
    except OSError:
        private = False
    if not private:
        pytest.skip(f"{host} is no name of loopback here")
    with pytest.raises((Reject, ActionFailed, ConfigError)) as refused:
        made(name, place, f"{host}:{place.receiver.port}", allow_private=()).send(notice())

    assert not place.receiver.got
    if host in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert f'[notify] allow_private = ["{host.lower()}"]' in str(refused.value)
        assert refused.type is Reject


@pytest.mark.parametrize("name", OVER_HTTP)
def test_ipv6_is_judged_like_the_rest(name: str) -> None:
    """::1 is private, and may be allowed; an IPv4 address behind ::ffff: is that address."""
    try:
        opened = receiver("::1")
        found = opened.__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6 on loopback")
    try:
        place = Place(found)
        with pytest.raises(Reject, match="allow_private"):
            made(name, place, f"[::1]:{found.port}", allow_private=()).send(notice())
        assert not found.got
        made(name, place, f"[::1]:{found.port}").send(notice())
        assert len(found.got) == 1
    finally:
        opened.__exit__(None, None, None)
    with receiver() as four:
        with pytest.raises((Reject, ConfigError), match=r"127\.0\.0\.1|Unparseable"):  # Apprise does not take such a URL
            made(name, Place(four), f"[::ffff:127.0.0.1]:{four.port}", allow_private=()).send(notice())
        assert not four.got


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names by address, in place of the network's; each look-up takes the first of several away. It raises the audit event that it raises."""
    names: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        sys.audit("socket.getaddrinfo", host, port, 0, 0, 0)
        known = names.get(host)
        if not known:
            return real(host, port, *arguments, **named)
        address = known.pop(0) if len(known) > 1 else known[0]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, int(port), 0, 0) if ":" in address else (address, int(port)))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_name_is_judged_by_the_address_it_leads_to_each_time(name: str, place: Place, resolver: dict[str, list[str]]) -> None:
    """A name server that answers otherwise from look-up to look-up (DNS rebinding) reaches nothing private."""
    at = f"flips.example:{place.receiver.port}"
    for answers in (["127.0.0.1"], ["224.0.0.1", "127.0.0.1"], ["255.255.255.255", "127.0.0.1"], ["::ffff:127.0.0.1"]):
        resolver["flips.example"] = answers
        for _ in range(3):
            with pytest.raises((Reject, ActionFailed)):
                made(name, place, at, allow_private=(), timeout_s=0.3).send(notice())
    assert not place.receiver.got

    resolver["flips.example"] = ["127.0.0.1", "169.254.169.254"]
    made(name, place, at, allow_private=("Flips.example",)).send(notice())
    assert len(place.receiver.got) == 1  # and with one look-up: what is judged is what is connected to


@pytest.mark.parametrize("name", OVER_HTTP)
@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"])
def test_the_addresses_of_credentials_are_refused_even_where_the_host_is_allowed(
    name: str, address: str, place: Place, resolver: dict[str, list[str]]
) -> None:
    """`allow_private` is for an Alertmanager of one's own, never for what hands out the machine's keys."""
    resolver["metadata.example"] = [address]
    with pytest.raises(Reject, match="nothing is ever sent to"):
        made(name, place, "metadata.example:80", allow_private=("metadata.example",)).send(notice())


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.9.9.9",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "240.0.0.1",
            "255.255.255.255",
        ),
        *(
            "::",
            "::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::ffff:0:0",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::",
        ),
        *("::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "not an address"),
    ],
)
def test_no_address_that_is_not_public_passes(address: str) -> None:
    """IPv4, IPv6, and IPv4 inside IPv6: mapped, 6to4, NAT64, compatible."""
    assert refusal(address, "some.host", ())


@pytest.mark.parametrize("address", ["224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1", "169.254.1.1", "fe80::1%eth0"])
def test_multicast_and_link_local_pass_never(address: str) -> None:
    """Not even where the host is allowed."""
    assert refusal(address, "some.host", ("some.host",))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::6810:84e5", "64:ff9b::1.1.1.1", "2002:101:101::"])
def test_public_addresses_pass(address: str) -> None:
    """Behind a NAT64 as well."""
    assert refusal(address, "some.host", ()) == ""


def test_only_what_is_within_is_watched(place: Place) -> None:
    """The rest of the process goes where it likes: to its store, for one."""
    for host in ("127.0.0.1", b"127.0.0.1", bytearray(b"127.0.0.1"), "localhost"):
        with within(Reach()), pytest.raises(Reject), socket.socket() as direct:
            direct.connect((host, place.receiver.port))
        with within(Reach()), pytest.raises(Reject), socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.sendto(b"x", (host, place.receiver.port))
    socket.create_connection(("127.0.0.1", place.receiver.port), timeout=5).close()


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_refusal_leaves_no_socket_open(name: str, place: Place) -> None:
    """Also while somebody holds the error, and with it the frames of the call."""
    held, process = [], psutil.Process()
    action = made(name, place, allow_private=())
    for _ in range(5):
        before = process.num_fds()
        with pytest.raises(Reject) as refused:
            action.send(notice())
        held.append(refused)
        assert process.num_fds() == before


@given(
    text=st.text(alphabet=st.one_of(st.sampled_from("<>@[]()!:\r\n\t\x1b\u200b\u202e&"), st.characters()), max_size=60),
    most=st.integers(5, 40),
)
def test_whatever_is_written_is_harmless_and_bounded(text: str, most: int) -> None:
    """In a text and in a line; a short text of letters is left as it is."""
    for words in (harmless(text, most), line(text, most)):
        assert not MENTION.search(words)
        assert "@" not in words.replace("@\u200b", "").rstrip("@…")
        assert len(words) <= most
    assert len(line(text, most).splitlines()) <= 1
    assert harmless("A plain text, of 100%\nletters.") == "A plain text, of 100%\nletters."


def test_tls_verifies_the_name_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted certificate for another name is none, and an unknown authority is none."""
    context, authority = certified(tmp_path, "localhost")
    with receiver(tls=context) as found:
        params = {"url": f"https://localhost:{found.port}/", "secret": KEY}
        with pytest.raises(ActionFailed, match="certificate"):
            load(ActionUse(name="one", use="webhook", params=params), Reach(allow_private=HOME)).send(notice())
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        wrong = params | {"url": f"https://127.0.0.1:{found.port}/"}
        with pytest.raises(ActionFailed, match="IP address mismatch"):
            load(ActionUse(name="one", use="webhook", params=wrong), Reach(allow_private=HOME)).send(notice())
        assert not found.got

        assert load(ActionUse(name="one", use="webhook", params=params), Reach(allow_private=HOME)).send(notice()) == "200 thanks"
        assert len(found.got) == 1


@pytest.mark.parametrize(
    ("use", "params", "said"),
    [
        ("webhook", {"url": "ftp://robot:s3cr3t@host/", "secret": KEY}, "url: it must be http:// or https://"),
        ("webhook", {"url": "https://host:s3cr3t/", "secret": KEY}, "url: it must be"),
        ("webhook", {"url": "https://host/s3cr3t\r\nX: y", "secret": KEY}, "url: it must be"),
        ("webhook", {"url": "https:///s3cr3t", "secret": KEY}, "url: it must be"),
        ("webhook", {"url": "https://host/", "secret": "s3cr3t"}, "secret: it must be whsec_"),
        ("webhook", {"url": "https://host/", "secret": ""}, "secret: it must be whsec_"),
        ("webhook", {"url": "https://host/", "secret": "whsec_czNjcjN0"}, "secret: it must be whsec_"),
        ("webhook", {"url": "https://host/", "secret": KEY, "headers": {"X-A": "s3cr3t\r\nX-B: 1"}}, "headers: names and values"),
        ("webhook", {"url": "https://host/"}, "secret"),
        ("alertmanager", {"url": "alertmanager:9093"}, "url: it must be"),
        ("apprise", {"url": "slak://s3cr3t/"}, "url: Apprise cannot use number 1: Un"),
        ("apprise", {"url": ["json://host/", "slack://s3cr3t"]}, "url: Apprise cannot use number 2: "),
        ("apprise", {"url": "rockets://s3cr3t@host/#general"}, "number 1: No Rocket.Chat user/pass combo was specified."),
        ("apprise", {"url": []}, "url: there is none"),
        ("retrain", {"job": "finetnue"}, "job: 'finetnue' is not known; known: finetune, evaluate"),
        ("retrain", {"approval": "maybe"}, "approval: 'maybe' is not known; known: manual, auto"),
    ],
)
def test_what_cannot_work_is_told_when_it_is_loaded(
    use: str, params: Mapping[str, Any], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As a sentence with the name of the parameter, and without what it holds."""
    caplog.set_level(logging.DEBUG, logger="apprise")
    with pytest.raises(ConfigError) as wrong:
        load(ActionUse(name="one", use=use, params=params), Reach(start=lambda _: None))

    assert said in str(wrong.value)
    assert "s3cr3t" not in str(wrong.value) + caplog.text


# --- webhook ----------------------------------------------------------------------------------------------------------


def hook(place: Place, secret: str, clock: Callable[[], float] = time.time) -> Action:
    """A webhook to *place*."""
    params = {"url": f"http://127.0.0.1:{place.receiver.port}/", "secret": secret, "clock": clock}
    return load(ActionUse(name="one", use="webhook", params=params), Reach(allow_private=HOME))


def test_the_public_library_verifies_our_signature(place: Place) -> None:
    """And while one secret replaces another, a receiver with either is content; with a third it is not, nor with another body."""
    hook(place, f"{KEY} {OTHER_KEY}").send(notice())

    (got,) = place.receiver.got
    for key in (KEY, OTHER_KEY):
        assert Webhook(key).verify(got.body, dict(got.headers))["id"] == notice().id
    for key, body in (("whsec_" + b64encode(b"t" * 32).decode(), got.body), (KEY, got.body.replace(b"shop", b"shap"))):
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(key).verify(body, dict(got.headers))


@pytest.mark.parametrize(("skew_s", "said"), [(-3600, "too old"), (3600, "too new")])
def test_the_timestamp_is_the_moment_of_sending(skew_s: float, said: str, place: Place) -> None:
    """A notice that waited a day in the outbox is fresh for its receiver; a wrong clock is noticed there."""
    hook(place, KEY).send(notice(at=AT - timedelta(days=1)))
    Webhook(KEY).verify(place.receiver.got[0].body, dict(place.receiver.got[0].headers))

    hook(place, KEY, lambda: time.time() + skew_s).send(notice())
    with pytest.raises(WebhookVerificationError, match=said):
        Webhook(KEY).verify(place.receiver.got[1].body, dict(place.receiver.got[1].headers))


def test_the_body_is_a_cloud_event_in_structured_mode(place: Place) -> None:
    """CloudEvents 1.0.2: the required attributes, RFC 3339 time, and the event itself under data."""
    hook(place, KEY).send(notice())

    (got,) = place.receiver.got
    event = json.loads(got.body)
    assert got.headers["content-type"].startswith("application/cloudevents+json")
    assert {name: event[name] for name in ("specversion", "source", "type", "subject", "datacontenttype")} == {
        "specversion": "1.0",
        "source": "/driftwheel",
        "type": "io.driftwheel.incident.opened.v1",
        "subject": INCIDENT.id,
        "datacontenttype": "application/json",
    }
    assert event["id"] == got.headers["webhook-id"] == notice().id
    assert datetime.fromisoformat(event["time"]) == AT
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in event)
    assert msgspec.convert(event["data"]["event"], Incident) == INCIDENT


def test_an_event_too_large_is_left_out_and_its_size_told(place: Place) -> None:
    """The words and the link still arrive."""
    hook(place, KEY).send(notice(data={"title": "x" * 100_000}))

    data = json.loads(place.receiver.got[0].body)["data"]
    assert "event" not in data
    assert data["event_left_out_bytes"] > 100_000
    assert data["title"]


# --- apprise ----------------------------------------------------------------------------------------------------------

CHATS = {
    "Slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "Discord": "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "Telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "Teams": "workflow://prod-00.westeurope.logic.azure.com:443/643e69f83c8944438d68119179a10a64/dUoHkRaPUYz7wLbUKB0tBk8LHqqYKkeD/",
    "Google Chat": "gchat://workspace/key/token",
    "Mattermost": "mmosts://team.example.com/3ccdd113474722377935511fc85d3dd4",
    "Rocket.Chat": "rockets://a1b2c3/d4e5f6@rocket.example.com/%23general",
    "ntfy": "ntfys://ntfy.example.com/topic",
}


@pytest.fixture
def to_receiver(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Requests to the services' own hosts end at *place*."""
    real = requests.adapters.HTTPAdapter.send

    def send(adapter: Any, request: Any, **named: Any) -> Any:
        request.url = re.sub(r"^https?://[^/]+", f"http://127.0.0.1:{place.receiver.port}", request.url)
        return real(adapter, request, **named)

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return place


@pytest.mark.parametrize("chat", CHATS)
def test_no_chat_gets_a_mention_or_markup(chat: str, to_receiver: Place) -> None:
    """Each service has its own way to call everybody; none is left in what an app wrote, in the title or the text."""
    hostile = "\n".join(HOSTILE[:4])
    action = load(ActionUse(name="one", use="apprise", params={"url": CHATS[chat]}), Reach(allow_private=HOME))
    to_receiver.receiver.body = b"ok" if chat == "Slack" else b'{"success": true}'
    action.send(notice(title=hostile, text=hostile, link=""))

    sent = " ".join(_strings(got.body) for got in to_receiver.receiver.got)
    assert "script" in sent
    assert "alert" in sent
    unescaped = re.sub(r"\\|</?b>", "", sent)  # Markdown's escapes, and Telegram's bold title, which Apprise makes
    assert not re.search(r"@(?:everyone|here|channel|room|all)\b|<[!@a-zA-Z/#]|\]\(http|\]:", unescaped), unescaped
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e\u2066]", sent)


def _strings(body: bytes) -> str:
    """Every string of a JSON body; of another, the body."""

    def walk(value: object) -> Iterator[str]:
        match value:
            case str():
                yield value
            case dict():
                for one in value.values():
                    yield from walk(one)
            case list():
                for one in value:
                    yield from walk(one)

    try:
        return " ".join(walk(json.loads(body)))
    except ValueError:
        return body.decode()


def test_a_long_text_arrives_whole_where_a_service_takes_little(to_receiver: Place) -> None:
    """Discord takes 2,000 characters: it comes in several messages, the last with the link and the notice's id."""
    action = load(ActionUse(name="one", use="apprise", params={"url": CHATS["Discord"]}), Reach(allow_private=HOME))
    action.send(notice(text="word " * 780))

    bodies = [_strings(got.body) for got in to_receiver.receiver.got]
    assert len(bodies) > 1
    assert sum(body.count("word") for body in bodies) == 780
    assert notice().id in bodies[-1]


def test_e_mail_is_plain_text_without_headers_from_an_app(place: Place) -> None:
    """A line break in a title makes no header, HTML no part of its own."""
    with mailbox() as (port, mails):
        url = f"mailto://robot:s3cr3t@localhost:{port}?smtp=localhost&from=robot@localhost.localdomain&to=oncall@localhost.localdomain&mode=insecure"
        action = load(ActionUse(name="one", use="apprise", params={"url": url}), Reach(allow_private=HOME))
        action.send(notice(title="one\r\nBcc: all@example.com\r\n\r\n<b>two</b>", text="<b>bold</b>\n@everyone"))
        with pytest.raises(Reject, match="allow_private"):
            load(ActionUse(name="one", use="apprise", params={"url": url}), Reach()).send(notice())

    (mail,) = mails
    found = email.message_from_bytes(mail, policy=email.policy.default)
    body = found.get_body()
    assert body is not None
    assert (body.get_content_type(), found["bcc"]) == ("text/plain", None)
    assert found["subject"] == "one Bcc: all@\u200bexample.com ⟨b⟩two⟨/b⟩"
    assert not MENTION.search(body.get_content().replace("\r", ""))


@pytest.mark.parametrize(
    ("kind", "severity", "said"),
    [
        ("incident.opened", "page", "failure"),
        ("incident.opened", "ticket", "warning"),
        ("incident.resolved", "page", "success"),
        ("trigger.pending", "ticket", "warning"),
        ("test", "ticket", "info"),
    ],
)
def test_how_bad_it_is_becomes_apprises_type(kind: Any, severity: Any, said: str, place: Place) -> None:
    """Services colour and route by it."""
    made("apprise", place).send(notice(kind=kind, severity=severity))

    assert json.loads(place.receiver.got[0].body)["type"] == said


def test_each_failure_has_its_own_reason(place: Place) -> None:
    """Several threads deliver at once, and Apprise logs to one logger: a refusal stays a refusal, a pause a pause."""
    with receiver() as busy, ThreadPoolExecutor(8) as threads:
        place.receiver.status, busy.status = 404, 503
        final, later = (
            load(ActionUse(name="one", use="apprise", params={"url": f"json://127.0.0.1:{port}/"}), Reach(allow_private=HOME))
            for port in (place.receiver.port, busy.port)
        )
        futures = [(action, threads.submit(action.send, notice())) for _ in range(24) for action in (final, later)]
        for action, future in futures:
            assert isinstance(future.exception(), Reject if action is final else ActionFailed)


def test_another_attempt_leaves_out_the_services_that_took_it(place: Place) -> None:
    """One of two is down: the other is told once."""
    with receiver() as broken:
        broken.status = 503
        url = [f"json://127.0.0.1:{port}/" for port in (place.receiver.port, broken.port)]
        action = load(ActionUse(name="one", use="apprise", params={"url": url}), Reach(allow_private=HOME))
        for _ in range(2):
            with pytest.raises(ActionFailed, match="error=503"):
                action.send(notice())
        broken.status = 200
        action.send(notice())

        assert (len(place.receiver.got), len(broken.got)) == (1, 3)


# --- retrain ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("approval", "state"), [("manual", "pending"), ("auto", "approved")])
def test_an_incident_that_opens_asks_for_one_job(approval: str, state: str) -> None:
    """Of its first signal and segment, under an id of its own that another attempt repeats."""
    started: list[Trigger] = []
    params = {"job": "evaluate", "approval": approval}
    action = load(ActionUse(name="one", use="retrain", params=params), Reach(start=started.append))
    action.send(notice())
    action.send(notice(id="another"))

    first, again = started
    assert first == again
    assert first.id == derived_id("trigger", "action:retrain", INCIDENT.id)
    assert (first.policy, first.job, first.state, first.incident_id) == ("action:retrain", "evaluate", state, INCIDENT.id)
    assert (first.signal, first.segment, first.verdict_id) == ("refusal.flag", "model=m", INCIDENT.verdicts[0])
    assert (first.evidence, first.level, first.onset) == (0, 0, INCIDENT.onset)


def test_nothing_else_starts_a_job() -> None:
    """Not its end, not a trigger, not a test; and what carries no incident is refused."""
    started: list[Trigger] = []
    action = load(ActionUse(name="one", use="retrain"), Reach(start=started.append))
    for kind in ("incident.resolved", "trigger.pending", "trigger.approved", "promotion.decided", "test"):
        assert kind in action.send(notice(kind=kind))
    with pytest.raises(Reject, match="carries no incident"):
        action.send(notice(data={"id": "x"}))

    assert not started


def test_where_nothing_can_be_started_the_action_says_so_when_it_is_loaded() -> None:
    """The role that has no store and no bus cannot have it."""
    with pytest.raises(ConfigError, match="nothing here can start a job"):
        load(ActionUse(name="one", use="retrain"), Reach())
