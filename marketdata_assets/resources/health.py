"""The answer of a resource's `check()`: what the server is, how fast it answers, what is missing, how to fix it."""

import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from marketdata_assets.local import endpoints, record
from marketdata_assets.local.errors import NoServer
from marketdata_assets.secret_values import without_password
from marketdata_assets.server_versions import ServerTooOld
from marketdata_assets.settings import Settings


@dataclass(frozen=True)
class Health:
    """One server's state. `missing` names what does not work there, `remedy` what to do about it."""

    store: str
    ok: bool
    url: str
    version: str = ""
    edition: str = ""
    latency_ms: float | None = None
    missing: tuple[str, ...] = ()
    remedy: str = ""


def examine(name: str, url: str, ask: Callable[[str], Health]) -> Health:
    """Ask a server for its health; a failure of any kind becomes a Health that says how to fix it.

    `name` is its field of Endpoints, which `url` replaces when it is not empty.
    """
    store, variable = endpoints.STORES[name], endpoints.VARIABLES[name]
    try:
        url = url or endpoints.address(Settings(), name)
    except NoServer as error:
        return Health(store, False, "", missing=("not running",), remedy=str(error))
    started = time.perf_counter()
    try:
        return ask(url)
    except ServerTooOld as error:
        fact = f"version {error.version} is too old"
        return Health(store, False, without_password(url), error.version, missing=(fact,), remedy=str(error))
    except Exception as error:
        waited = (time.perf_counter() - started) * 1000
        cause = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        remedy = _remedy(name, variable)
        return Health(store, False, without_password(url), latency_ms=waited, missing=(cause,), remedy=remedy)


def _remedy(name: str, variable: str) -> str:
    """What to do about a server that does not answer, whoever runs it."""
    settings = Settings()
    stack = record.read(settings.root)
    if getattr(settings, name) is not None or stack is None:
        return f"start the server, or correct {variable}"
    log = settings.root / "logs" / f"{name.partition('_')[0]}.log"
    return (
        f'"marketdata up" (process {stack.pid}) starts it again within a minute, and reports it; when it does not,'
        f" read {log}, stop that process and start it again"
    )


def median_ms(call: Callable[[], object], times: int = 5) -> float:
    """Median wall time of a few calls, in milliseconds."""
    return median(timeit.repeat(call, number=1, repeat=times)) * 1000
