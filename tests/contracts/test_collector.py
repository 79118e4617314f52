"""What the collector does with good events: stamps, masks, packs, and answers only when they are durable."""

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from collecting import NOW, a_feedback, an_inference, collecting
from driftwheel.bus import Outgoing
from driftwheel.collector import CollectorSettings, Key
from driftwheel.errors import BusFull, Busy, ConfigError, DriftwheelError
from driftwheel.jobs.promote import Champion
from driftwheel.pipeline.envelope import MAX_BYTES, MAX_EVENTS
from driftwheel.testing_bus import MemoryBus
from driftwheel_schemas import partition_of
from driftwheel_schemas.topics import FEEDBACK, INFERENCES

KEYS = {
    "k1": Key(sha256=hashlib.sha256(b"s3cret_with_underscores").hexdigest(), tenant="acme"),
    "k2": Key(sha256=hashlib.sha256(b"other").hexdigest(), tenant="zoo", scopes=("feedback:write",)),
}


def test_one_object_or_an_array_is_accepted() -> None:
    """202 says how many are durable, and they are on the bus."""

    async def scene() -> None:
        async with collecting() as c:
            one = await c.post(an_inference())
            many = await c.post([an_inference(), an_inference()])
            assert (one.status_code, one.json()) == (202, {"accepted": 1, "rejected": []})
            assert (many.status_code, many.json()["accepted"]) == (202, 2)
            assert len(c.events()) == 3
            assert await c.metric('driftwheel_collector_accepted_total{event="inference"}') == 3

    asyncio.run(scene())


def test_the_collector_stamps_tenant_and_time_itself() -> None:
    """A client cannot choose its tenant or when it was accepted; stamps grow even where the clock stands still or runs back."""
    times = iter([NOW, NOW, NOW, NOW - timedelta(hours=1), NOW, NOW - timedelta(hours=1)])

    async def scene() -> None:
        async with collecting(clock=lambda: next(times)) as c:
            ids = []
            for _ in range(3):
                event = an_inference(tenant="evil", accepted_at="2001-01-01T00:00:00Z")
                ids.append(event["id"])
                assert (await c.post(event)).status_code == 202
            stored = [c.events()[one] for one in ids]
            assert {one["tenant"] for one in stored} == {"default"}
            stamps = [datetime.fromisoformat(one["accepted_at"]) for one in stored]
            assert stamps == sorted(set(stamps))
            assert stamps[0] == NOW

    asyncio.run(scene())


def test_an_event_lies_where_its_id_says() -> None:
    """The partition is CRC-32 of the canonical id, for inferences and feedback alike."""

    async def scene() -> None:
        async with collecting() as c:
            await c.post([an_inference() for _ in range(40)])
            await c.post([a_feedback() for _ in range(40)], "/v1/feedback")
            for topic in (INFERENCES, FEEDBACK):
                for record in c.bus.records(topic):
                    assert {partition_of(event["id"], 4) for event in json.loads(record.value)} == {record.partition}
                assert len(c.events(topic)) == 40

    asyncio.run(scene())


def test_a_hundred_requests_share_a_few_envelopes() -> None:
    """100 requests of one event each become one envelope a partition for each append, and few appends."""

    async def scene() -> None:
        async with collecting(CollectorSettings(linger_s=0.05)) as c:
            answers = await asyncio.gather(*(c.post(an_inference()) for _ in range(100)))
            assert {one.status_code for one in answers} == {202}
            assert len(c.events()) == 100
            assert c.bus.appends <= 5
            assert len(c.envelopes()) <= 4 * c.bus.appends

    asyncio.run(scene())


def test_an_envelope_keeps_its_bounds() -> None:
    """At most 500 events and 900 KiB, whatever is sent."""

    async def scene() -> None:
        async with collecting() as c:
            assert (await c.post([an_inference() for _ in range(2_500)])).json()["accepted"] == 2_500
            assert (await c.post([an_inference(prompt="word " * 20_000) for _ in range(30)])).json()["accepted"] == 30
            assert max(len(one) for one in c.envelopes()) <= MAX_EVENTS
            assert max(len(record.value) for record in c.bus.records(INFERENCES)) <= MAX_BYTES + MAX_EVENTS + 2
            assert len(c.events()) == 2_530

    asyncio.run(scene())


@pytest.mark.parametrize(
    "failure", [BusFull("disk full", 7.0), Busy("slow"), ConfigError("no topic"), OSError(5, "io"), RuntimeError("bug")]
)
def test_whatever_fails_behind_the_collector_is_a_503_for_the_whole_request(failure: Exception) -> None:
    """Nothing of the request is counted as accepted, the client is told when to come back, and then all of it lands."""

    async def scene() -> None:
        async with collecting() as c:
            c.bus.failure = failure
            body = [an_inference(), {"bad": 1}, an_inference()]
            refused = await c.post(body)
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert int(refused.headers["retry-after"]) == (7 if isinstance(failure, BusFull) else int(refused.headers["retry-after"])) >= 1
            assert not c.events()
            assert await c.metric('driftwheel_collector_accepted_total{event="inference"}') == 0
            c.bus.failure = None
            assert (await c.post(body)).json()["accepted"] == 2
            assert len(c.events()) == 2

    asyncio.run(scene())


class StuckBus(MemoryBus):
    """Does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def append(self, records: Sequence[Outgoing]) -> list[tuple[int, int]]:
        await self.go.wait()
        return await super().append(records)


def test_no_202_before_the_bus_has_it() -> None:
    """While the bus has not answered, neither has the collector; and events that come meanwhile share the next envelope."""

    async def scene() -> None:
        bus = StuckBus()
        async with collecting(bus=bus) as c:
            waiting = [asyncio.create_task(c.post(an_inference())) for _ in range(30)]
            done, _ = await asyncio.wait(waiting, timeout=0.1)
            assert not done
            bus.go.set()
            assert {(await one).status_code for one in waiting} == {202}
            assert bus.appends <= 2

    asyncio.run(scene())


def test_a_bus_that_hangs_is_a_503_and_leaves_no_backlog() -> None:
    """No request waits for ever, what was given up is let go, and the next one is taken as soon as the bus is back."""

    async def scene() -> None:
        bus = StuckBus()
        async with collecting(CollectorSettings(append_timeout_s=0.1, linger_s=0), bus=bus) as c:
            first = asyncio.create_task(c.post(an_inference()))
            await asyncio.wait([first], timeout=0.03)
            second = await c.post(an_inference())
            assert [(await first).status_code, second.status_code] == [503, 503]
            assert "no answer in time" in second.text
            assert await c.metric("driftwheel_collector_in_flight_bytes") == 0
            bus.go.set()
            assert (await c.post(an_inference())).status_code == 202
            assert len(c.events()) == 1

    asyncio.run(scene())


def test_bytes_in_flight_are_bounded() -> None:
    """Above the bound a request is sent away with 429, unless it is alone."""

    async def scene() -> None:
        bus = StuckBus()
        async with collecting(CollectorSettings(max_in_flight_bytes=150_000), bus=bus) as c:
            first = asyncio.create_task(c.post(an_inference(prompt="x" * 140_000)))
            await asyncio.wait([first], timeout=0.05)
            refused = await c.post(an_inference(prompt="y" * 50_000))
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
            bus.go.set()
            assert (await first).status_code == 202
            assert (await c.post(an_inference(prompt="z" * 200_000))).status_code == 202
            assert await c.metric("driftwheel_collector_in_flight_bytes") == 0

    asyncio.run(scene())


def test_compressed_bodies_are_read() -> None:
    """Gzip (also in several members), zlib and bare deflate."""
    body = json.dumps([an_inference()]).encode()
    bare = zlib.compressobj(wbits=-15)
    encodings = [
        ("gzip", gzip.compress(body)),
        ("gzip", gzip.compress(body[:50]) + gzip.compress(body[50:])),
        ("deflate", zlib.compress(body)),
        ("deflate", bare.compress(body) + bare.flush()),
    ]

    async def scene() -> None:
        async with collecting() as c:
            for encoding, content in encodings:
                answer = await c.post(content, headers={"content-encoding": encoding, "content-type": "text/plain"})
                assert answer.status_code == 202, (encoding, answer.text)

    asyncio.run(scene())


def test_personal_data_is_masked_before_the_bus() -> None:
    """Prompts, tool calls, attributes, comments and corrections; the counts say what was masked."""

    async def scene() -> None:
        async with collecting() as c:
            call = {"id": "c", "name": "mail", "arguments": '{"to":"jane@example.com"}'}
            event = an_inference(
                prompt=[{"role": "user", "content": "card 4111 1111 1111 1111", "tool_calls": [call]}],
                attributes={"note": "call +49 151 12345678"},
            )
            rating = a_feedback(comment="write to jane@example.com", correction="IBAN DE89370400440532013000")
            await c.post(event)
            await c.post(rating, "/v1/feedback")
            stored = c.events()[event["id"]]
            assert stored["prompt"][0]["content"] == "card [CARD]"
            assert json.loads(stored["prompt"][0]["tool_calls"][0]["arguments"]) == {"to": "[EMAIL]"}
            assert stored["attributes"] == {"note": "call [PHONE]"}
            assert (c.feedback()[rating["id"]]["comment"], c.feedback()[rating["id"]]["correction"]) == ("write to [EMAIL]", "IBAN [IBAN]")
            assert await c.metric('driftwheel_collector_redactions_total{kind="EMAIL"}') == 2

    asyncio.run(scene())


def test_users_become_pseudonyms_where_a_secret_is_set() -> None:
    """The same user gives the same pseudonym, in inferences and feedback."""

    async def scene() -> None:
        async with collecting(CollectorSettings(user_secret="pepper")) as c:
            event, rating = an_inference(user_id="jane"), a_feedback(author="jane")
            await c.post(event)
            await c.post(rating, "/v1/feedback")
            pseudonym = c.events()[event["id"]]["user_id"]
            assert pseudonym.startswith("u_")
            assert c.feedback()[rating["id"]]["author"] == pseudonym

    asyncio.run(scene())


def test_a_key_says_whose_events_they_are() -> None:
    """401 without a valid key, 403 without the scope, and the tenant comes from the key alone."""

    async def scene() -> None:
        async with collecting(CollectorSettings(host="0.0.0.0", keys=KEYS)) as c:
            event = an_inference(tenant="zoo")
            tries = {"": 401, "dw_k1_wrong": 401, "dw_k9_other": 401, "xx_k1_s3cret_with_underscores": 401, "dw_k2_other": 403}
            for key, status in tries.items():
                assert (await c.post(event, headers={"x-api-key": key})).status_code == status, key
            assert not c.events()
            assert (await c.post(event, headers={"x-api-key": "dw_k1_s3cret_with_underscores"})).status_code == 202
            assert (await c.post(an_inference(), headers={"authorization": "Bearer dw_k1_s3cret_with_underscores"})).status_code == 202
            assert {one["tenant"] for one in c.events().values()} == {"acme"}
            assert (await c.post(a_feedback(), "/v1/feedback", {"x-api-key": "dw_k2_other"})).status_code == 202

    asyncio.run(scene())


def test_without_keys_only_this_machine_is_heard() -> None:
    """A host that others can reach is refused with the cure; a key opens it."""
    for host in ("127.0.0.1", "::1", "localhost"):
        assert CollectorSettings(host=host).host == host
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.com"):
        with pytest.raises(ConfigError, match=r"collector\.host: .* no key; .*driftwheel admin keys"):
            CollectorSettings(host=host)
    assert CollectorSettings(host="0.0.0.0", keys=KEYS).keys == KEYS


def test_the_champion_can_be_asked_for() -> None:
    """The model, or a 404 while nothing was promoted; a store that is away is a 503."""

    def champions(tenant: str, app: str) -> Champion | None:
        if app == "away":
            raise Busy("starting")
        return (
            Champion(app=app, model="smollm2-0123", since=datetime(2026, 11, 1, tzinfo=UTC))
            if (tenant, app) == ("default", "shop/eu")
            else None
        )

    async def scene() -> None:
        async with collecting(champions=champions) as c:
            found = await c.client.get("/v1/champion/shop/eu")
            assert (found.status_code, found.json()["model"], found.json()["since"]) == (200, "smollm2-0123", "2026-11-01T00:00:00Z")
            assert [(await c.client.get(f"/v1/champion/{app}")).status_code for app in ("other", "away")] == [404, 503]

    asyncio.run(scene())


def test_health_says_what_durable_means() -> None:
    """Ready names what survives; a bus that is away is not ready, while the process lives."""

    class AwayBus(MemoryBus):
        async def ends(self, topic: str) -> dict[int, int]:
            raise Busy("locked")

    async def scene() -> None:
        async with collecting(CollectorSettings(survives_power_loss=True)) as c:
            assert (await c.client.get("/health/ready")).json() == {"ready": True, "survives": {"kill_9": True, "power_loss": True}}
        async with collecting(bus=AwayBus()) as c:
            assert (await c.client.get("/health/live")).status_code == 200
            away = await c.client.get("/health/ready")
            assert (away.status_code, away.json()["ready"]) == (503, False)

    asyncio.run(scene())


def test_errors_of_the_collector_are_ours() -> None:
    """Settings that are none are refused by name."""
    for wrong in (
        {"port": 70_000},
        {"linger_s": 5.0},
        {"max_events": 0},
        {"keys": {"a_b": KEYS["k1"]}},
        {"keys": {"a": Key(sha256="short")}},
    ):
        with pytest.raises(DriftwheelError, match=f"collector.{next(iter(wrong))}"):
            CollectorSettings(**wrong)
