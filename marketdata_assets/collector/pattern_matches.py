"""What the patterns of a configuration match by the venues' lists of now: what `collect check` shows before a start."""

import asyncio
from dataclasses import dataclass, field

from marketdata_assets.budget import BudgetPlace
from marketdata_assets.collector.config import Config, Market
from marketdata_assets.collector.connections import adapter_for
from marketdata_assets.collector.connections.selection import request_list
from marketdata_assets.collector.errors import CollectorError
from marketdata_assets.collector.symbols import is_pattern, resolve_symbols
from marketdata_assets.exchanges.records import Exchange, MarketType
from marketdata_assets.exchanges.venue_adapter import REQUEST_ERRORS, Request
from marketdata_assets.http_client import RetryPolicy

PATIENCE = RetryPolicy(timeout=10.0, max_retries=2)


@dataclass(frozen=True)
class PatternMatches:
    """The patterns of one market. `unknown` says why the list is not known; then nothing else is."""

    exchange: Exchange
    market_type: MarketType
    matched: dict[str, list[str]] = field(default_factory=dict)  # the venue's names, by pattern
    problems: dict[str, str] = field(default_factory=dict)  # by symbol or pattern
    unknown: str = ""


async def match_patterns(config: Config, budgets: BudgetPlace) -> list[PatternMatches]:
    """Ask the venues for their lists, where symbols have patterns. Raises CollectorError for what they reject."""
    markets = [one for one in config.markets() if any(map(is_pattern, one[2].symbols))]
    found = await asyncio.gather(*(_match(*one, budgets) for one in markets))
    wrong = [
        f"exchanges.{one.exchange}.markets.{one.market_type}.symbols: {symbol} {why}"
        for one in found
        for symbol, why in one.problems.items()
    ]
    if wrong:
        raise CollectorError("\n".join(wrong))
    return found


async def _match(exchange: Exchange, market_type: MarketType, market: Market, budgets: BudgetPlace) -> PatternMatches:
    adapter = adapter_for(exchange, market_type, rest_url=market.base_url)
    feed = adapter.feed()

    async def ask(request: Request) -> bytes:
        answer = await rest.get(request.path, request.params, lane=request.lane, cost=request.cost)
        feed.answer(answer.url, answer.raw, answer.ts_recv)
        return answer.raw

    try:
        async with adapter.rest(budgets, PATIENCE) as rest:
            await request_list(adapter, feed.instruments, ask)
    except REQUEST_ERRORS as error:
        return PatternMatches(exchange, market_type, unknown=str(error))
    dollars, most = market.match_dollar_quotes, market.max_instruments
    known = feed.instruments.known
    found = resolve_symbols(known, market_type, market.symbols, match_dollar_quotes=dollars, most=most)
    problems = found.rejected | ({} if dollars else found.problems)
    return PatternMatches(exchange, market_type, found.matched, problems)
