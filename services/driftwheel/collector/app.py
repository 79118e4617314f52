"""The collector's routes: events in, durable on the bus, then 202. Any failure of the bus is a 503 for the whole request."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from driftwheel.bus import Bus
from driftwheel.checks import E
from driftwheel.collector.alerts import Heard, encoded, hear
from driftwheel.collector.batcher import Batcher
from driftwheel.collector.decode import Rejection
from driftwheel.collector.http import InFlight, Lease, Refusal, answer, problem, read_body, tenant_of
from driftwheel.collector.intake import FEEDBACK_IN, INFERENCE, Intake, Sifted
from driftwheel.collector.meters import Meters
from driftwheel.collector.settings import CollectorSettings, Scope
from driftwheel.errors import Busy, DriftwheelError
from driftwheel_schemas.topics import VERDICTS

if TYPE_CHECKING:
    from driftwheel.jobs.promote import Champion

    Champions = Callable[[str, str], Champion | None]

log = logging.getLogger(__name__)

LARGE = 256 * 1024
"""From this size on a body is read in a thread: 256 KiB take some 5 ms, and `/health/live` must not wait longer."""


class Collector:
    """What the routes share. *clock* gives aware UTC; *champions* (tenant, app) may block, it runs in a thread."""

    def __init__(self, bus: Bus, settings: CollectorSettings, clock: Callable[[], datetime], champions: "Champions | None" = None) -> None:
        self.settings = settings
        self.meters = Meters()
        self._bus = bus
        self._clock = clock
        self._champions = champions
        self._last: datetime | None = None
        self._in_flight = InFlight(settings.max_in_flight_bytes)
        self._batchers = {
            topic: Batcher(bus, topic, linger_s=settings.linger_s, timeout_s=settings.append_timeout_s)
            for topic in (INFERENCE.topic, FEEDBACK_IN.topic, VERDICTS)
        }
        self.meters.in_flight.set_function(lambda: self._in_flight.held)

    async def inferences(self, request: Request) -> Response:
        """One inference or an array of them; 202 once they are durable."""
        return await self.take(INFERENCE.name, lambda: self._events(INFERENCE, request, "ingest:write"))

    async def feedback(self, request: Request) -> Response:
        """One feedback or an array of them; 202 once they are durable."""
        return await self.take(FEEDBACK_IN.name, lambda: self._events(FEEDBACK_IN, request, "feedback:write"))

    async def alerts(self, request: Request) -> Response:
        """A webhook of Alertmanager or Grafana; 202 once its alerts are durable as verdicts."""
        return await self.take("alert", lambda: self._alerts(request))

    async def take(self, name: str, work: Callable[[], Awaitable[Response]]) -> Response:
        """Answer a request that brings events called *name*: what *work* says, or what stood in its way."""
        began = time.perf_counter()
        try:
            response = await work()
        except Refusal as refused:
            self.meters.rejected.labels(name, refused.reason).inc()
            response = refused.response()
        except (DriftwheelError, OSError, TimeoutError) as away:
            wait_s = away.retry_after_s if isinstance(away, Busy) else 2.0
            response = Refusal(
                503, "bus", f"the bus did not take it ({str(away) or 'no answer in time'}); send the whole request again", wait_s
            ).response()
        except ClientDisconnect:
            self.meters.rejected.labels(name, "disconnect").inc()
            response = problem(400, "the body ended too early")
        except Exception:  # the server's last resort: whatever broke, the client keeps its events and sends them again
            log.exception("%s: nothing was accepted", name)
            response = Refusal(
                503, "bus", "something broke on the way to the bus, see the log; send the whole request again", 2.0
            ).response()
        self.meters.requests.labels(name, str(response.status_code)).inc()
        self.meters.latency.labels(name).observe(time.perf_counter() - began)
        return response

    async def _alerts(self, request: Request) -> Response:
        tenant = tenant_of(request, self.settings.keys, "alerts:write")
        with self._in_flight.lease() as lease:
            heard = hear(await self._body("alert", request, lease), tenant, self._stamp())
            await self._batchers[VERDICTS].put(encoded(heard.verdicts))
        self._count_alerts(heard)
        return _verdict(len(heard.verdicts), heard.rejected, ignored=heard.own)

    def _count_alerts(self, heard: Heard) -> None:
        self.meters.accepted.labels("alert").inc(len(heard.verdicts))
        for reason in [*(one.reason for one in heard.rejected), *["own"] * heard.own, *["truncated"] * heard.truncated]:
            self.meters.rejected.labels("alert", reason).inc()

    async def _events(self, intake: Intake[E], request: Request, scope: Scope) -> Response:
        tenant = tenant_of(request, self.settings.keys, scope)
        with self._in_flight.lease() as lease:
            body = await self._body(intake.name, request, lease)
            now = self._clock()
            if len(body) < LARGE:
                sifted = intake.sift(body, now, self.settings)
            else:
                sifted = await asyncio.to_thread(intake.sift, body, now, self.settings)
            # no await between the stamp and the batch: accepted_at grows along every partition
            sealed = intake.seal(sifted, tenant, self._stamp(), self.settings.user_secret)
            await self._batchers[intake.topic].put(sealed)
        self._count(intake, sifted, len(sealed))
        return _verdict(len(sealed), sifted.rejected)

    async def _body(self, name: str, request: Request, lease: Lease) -> bytes:
        body = await read_body(request, lease, self.settings)
        self.meters.received.labels(name).inc(len(body))
        return body

    def _stamp(self) -> datetime:
        """The clock, but later than every stamp before."""
        now = self._clock()
        if self._last is not None and now <= self._last:
            now = self._last + timedelta(microseconds=1)
        self._last = now
        return now

    def _count(self, intake: Intake[E], sifted: Sifted[E], accepted: int) -> None:
        meters = self.meters
        meters.accepted.labels(intake.name).inc(accepted)
        for one in sifted.rejected:
            meters.rejected.labels(intake.name, one.reason).inc()
        for kind, times in sifted.redactions.items():
            meters.redactions.labels(kind).inc(times)
        if sifted.truncated:
            meters.truncated.labels(intake.name).inc(len(sifted.truncated))
        if sifted.duplicates:
            meters.duplicates.labels(intake.name).inc(sifted.duplicates)

    async def champion(self, name: str, request: Request) -> Response:
        """The model that serves the app called *name* now."""
        try:
            tenant = tenant_of(request, self.settings.keys, "query:read")
            found = await asyncio.to_thread(self._champions, tenant, name) if self._champions else None
        except Refusal as refused:
            return refused.response()
        except (DriftwheelError, OSError) as wrong:
            return Refusal(503, "store", f"the store does not say: {wrong}", 2.0).response()
        return answer(200, asdict(found)) if found else problem(404, f"nothing was promoted for {name!r} yet")

    async def live(self) -> Response:
        """The process answers."""
        return answer(200, {"live": True})

    async def metrics(self) -> Response:
        """Numbers for Prometheus."""
        return Response(self.meters.page(), media_type="text/plain; version=0.0.4")

    async def ready(self) -> Response:
        """Whether the bus answers, and what durable means with it."""
        durable = {"kill_9": True, "power_loss": self.settings.survives_power_loss}
        try:
            async with asyncio.timeout(2):
                await self._bus.ends(INFERENCE.topic)
        except (DriftwheelError, OSError, TimeoutError) as wrong:
            return problem(
                503, f"the bus does not answer: {wrong or 'not within 2 s'}", headers={"retry-after": "2"}, ready=False, survives=durable
            )
        return answer(200, {"ready": True, "survives": durable})

    async def close(self) -> None:
        """Send what waits."""
        for batcher in self._batchers.values():
            await batcher.close()


def create_app(collector: Collector) -> FastAPI:
    """
    The *collector* as an ASGI app.

    The bodies are read as bytes and decoded by msgspec: pydantic models took 3.6 times the CPU (reference: 16.9 against
    60.8 thousand events a CPU second).
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await collector.close()

    app = FastAPI(title="Driftwheel collector", lifespan=lifespan)
    app.add_api_route("/v1/inferences", collector.inferences, methods=["POST"], status_code=202)
    app.add_api_route("/v1/feedback", collector.feedback, methods=["POST"], status_code=202)
    app.add_api_route("/v1/hooks/alertmanager", collector.alerts, methods=["POST"], status_code=202)
    app.add_api_route("/v1/champion/{name:path}", collector.champion, methods=["GET"])
    app.add_api_route("/health/live", collector.live, methods=["GET"])
    app.add_api_route("/health/ready", collector.ready, methods=["GET"])
    app.add_api_route("/metrics", collector.metrics, methods=["GET"])
    return app


def _verdict(accepted: int, rejections: Sequence[Rejection], **more: int) -> Response:
    rejected = [{"index": one.index, "path": one.path, "error": one.error} for one in rejections]
    if rejected and not accepted:
        first = rejected[0]
        return problem(400, f"no event could be accepted; {first['path']} {first['error']}", accepted=0, rejected=rejected)
    return answer(202, {"accepted": accepted, "rejected": rejected} | more)
