"""`heartbeat`: calls a service outside every minute, which reports when the calls stop: a dead man's switch.

Dagster's daemon cannot report that it is down itself; the alerts on everything else are in `alert`.
"""

import dagster as dg

from marketdata_assets.defs.runs import sensor
from marketdata_assets.settings import Settings

VARIABLE = "MARKETDATA_HEARTBEAT_URL"


@sensor(
    name="heartbeat",
    minimum_interval_seconds=60,
    description="Calls MARKETDATA_HEARTBEAT_URL every minute; the service there reports when the calls stop.",
)
def heartbeat() -> dg.SkipReason:
    from marketdata_assets.alerts import Alert, post

    url = Settings().heartbeat_url
    if not url:
        return dg.SkipReason(f"no service to call: set {VARIABLE}")
    post(url.get_secret_value(), Alert("marketdata: daemon and code server are alive", [], {}), VARIABLE)
    return dg.SkipReason("called")
