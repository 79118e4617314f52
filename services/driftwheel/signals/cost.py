"""What the call cost."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from driftwheel.errors import ConfigError, MissingExtra
from driftwheel.signals.tokens import MOST
from driftwheel_schemas import Inference

if TYPE_CHECKING:
    from genai_prices.types import ModelPrice

Price = Mapping[str, float]
"""US dollars per million tokens: `input`, `output` and, where cached tokens are cheaper, `cached`."""

Lookup = Callable[[Inference, int, int], float | None]

MOST_USD = 999_999_999
"""What the store's Decimal(18, 9) holds; more, or less than nothing, is no cost."""

REMEMBERED = 4_096
"""Pairs of provider and model whose place in the price table is kept; names come from outside, so it is bounded."""

_DATE = re.compile(r"[-@]\d{4}-?\d{2}-?\d{2}$")


@dataclass(frozen=True, slots=True)
class Rates:
    """US dollars of a call, and of a token of each sort; `cached` is of an input token that is a cached one."""

    call: Decimal
    input: Decimal
    cached: Decimal
    output: Decimal

    @classmethod
    def of(cls, price: "ModelPrice") -> "Rates | None":
        """What *price* comes to a token, None where it has tiers: without them it is a sum of counts times prices."""
        if not all(one is None or isinstance(one, Decimal) for one in vars(price).values()):
            return None
        call, many = _usd(price, 0, 0, 0), 1_000_000
        of_many = (_usd(price, many, 0, 0), _usd(price, many, many, 0), _usd(price, 0, 0, many))
        return cls(call, *((one - call) / many for one in of_many))


def _usd(price: "ModelPrice", input_tokens: int, cached: int, output_tokens: int) -> Decimal:
    from genai_prices import Usage

    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached)
    return price.calc_price(usage)["total_price"]


@cache
def _price_table() -> Lookup:
    """The bundled price table of genai-prices; it is never refreshed from the network. A call of it takes 70 µs, of `Rates` 3 µs."""
    try:
        from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
        from genai_prices.types import ModelInfo, ModelPrice
    except ImportError as missing:
        raise MissingExtra("genai-prices", "server") from missing
    providers = get_snapshot().providers

    @lru_cache(REMEMBERED)
    def place(provider_name: str, model: str) -> tuple[ModelInfo, dict[int, Rates | None]] | None:
        """Where a model is in the table, and the rates of each of its prices (some change with the date or the hour)."""
        for provider_id, name in _spellings(provider_name, model):
            if provider_id:
                found = find_provider_by_id(providers, provider_id)
            else:
                found = next((one for one in providers if one.model_match and one.model_match.is_match(name)), None)
            if found and (info := found.find_model(name, all_providers=providers)):
                prices = [info.prices] if isinstance(info.prices, ModelPrice) else [one.prices for one in info.prices]
                return info, {id(price): Rates.of(price) for price in prices}
        return None

    def price(event: Inference, input_tokens: int, output_tokens: int) -> float | None:
        at = place(event.provider, event.model) or place(event.provider, event.response_model)
        if at is None:
            return None
        info, known = at
        cached = min(max(event.cached_tokens or 0, 0), input_tokens)
        now = info.get_prices(event.started_at.astimezone(UTC))
        if (rate := known[id(now)]) is None:
            return float(_usd(now, input_tokens, cached, output_tokens))
        return float(rate.call + (input_tokens - cached) * rate.input + cached * rate.cached + output_tokens * rate.output)

    return price


@dataclass(frozen=True, slots=True)
class Cost:
    """
    `cost.usd`: the event's own cost; else that of its tokens by `prices`, else by the table of genai-prices.

    `prices` maps a model, or `provider/model`, to US dollars per million tokens. In the table dated names
    (`gpt-4o-2024-08-06`) and prefixes (`openai/gpt-4o`) are understood. A model that has no price, or whose provider
    is not in the table (it may be the user's own machine), has no reading.
    Raises `ConfigError` for prices of another form, `MissingExtra` when genai-prices is not installed.

    >>> from datetime import UTC, datetime
    >>> event = Inference(id="i", app="a", model="own", started_at=datetime.now(UTC), input_tokens=2_000_000, output_tokens=0)
    >>> list(Cost(prices={"own": {"input": 0.5, "output": 1.5}})(event))
    [('cost.usd', 1.0)]
    """

    prices: Mapping[str, Price] = field(default_factory=dict)
    _table: Lookup = field(default_factory=_price_table, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for model, price in self.prices.items():
            if not {"input", "output"} <= price.keys() <= {"input", "output", "cached"}:
                raise ConfigError(
                    f'signals.cost.prices."{model}": is {dict(price)}; give input, output and perhaps cached, in USD per million tokens'
                )

    def __call__(self, event: Inference) -> Iterator[tuple[str, float]]:
        own = event.cost_usd
        usd = self._of(event) if own is None else float(own) if own.is_finite() else None
        if usd is not None and 0 <= usd <= MOST_USD:
            yield "cost.usd", usd

    def _of(self, event: Inference) -> float | None:
        output = 0 if event.operation == "embeddings" else event.output_tokens
        if event.input_tokens is None or output is None or not (0 <= event.input_tokens <= MOST and 0 <= output <= MOST):
            return None
        if self.prices and (price := self.prices.get(f"{event.provider}/{event.model}") or self.prices.get(event.model)):
            cached = min(max(event.cached_tokens or 0, 0), event.input_tokens)
            full = (event.input_tokens - cached) * price["input"] + cached * price.get("cached", price["input"])
            return (full + output * price["output"]) / 1e6
        return self._table(event, event.input_tokens, output)


def _spellings(provider: str, model: str) -> Iterator[tuple[str, str]]:
    """
    Where a price may stand, most exact first: (provider, model), no provider meaning the one that makes such models.

    >>> list(_spellings("", "openai/gpt-4o-2024-08-06"))
    [('', 'openai/gpt-4o-2024-08-06'), ('openai', 'gpt-4o-2024-08-06'), ('openai', 'gpt-4o')]
    """
    if not model:
        return
    yield provider, model
    maker, slash, name = model.partition("/")
    if slash:
        provider, model = maker, name
        yield provider, model
    if _DATE.search(model):
        yield provider, _DATE.sub("", model)
