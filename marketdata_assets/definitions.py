"""The one entry of the code location: the definitions under `defs/`, and the resources they share."""

from pathlib import Path

import dagster as dg

from marketdata_assets import resources
from marketdata_assets.defs.flows import own
from marketdata_assets.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    ours = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    return dg.Definitions.merge(
        ours,
        own.definitions(Settings().flows_folder, own.names(ours)),
        dg.Definitions(
            resources={
                "postgres": resources.Postgres(),
                "mongo": resources.Mongo(),
                "clickhouse": resources.ClickHouse(),
                "nats": resources.Nats(),
                "brain": resources.Brain(),
                "bar_files": resources.BarFiles(),
                "flow_files": resources.FlowFiles(),
                "alphas_dir": resources.AlphaFiles(),
                "ticks": resources.Ticks(),
                "exchanges": resources.Exchanges(),
                "workers": resources.Workers(),
            },
            executor=dg.in_process_executor,
        ),
    )
