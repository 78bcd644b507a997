"""Whether a flow that reads well would also run: its functions exist, its SQL parses, its columns are there."""

from marketdata_assets.flows import conform
from marketdata_assets.flows.definition import FlowDefinition
from marketdata_assets.flows.handlers.call import function
from marketdata_assets.flows.pipeline import Pipeline
from marketdata_assets.flows.reading import empty
from marketdata_assets.flows.rejects import Rejects
from marketdata_assets.flows.steps import Call

NO_FILE = "an empty file"


def check(flow: FlowDefinition) -> None:
    """Run the handlers before the first `call` on a frame of no rows. Raises FlowError that names what is wrong.

    What a user's function does with no rows is its own affair, so it is looked up and not called.
    """
    calls = [step.config for step in flow.handlers if isinstance(step.config, Call)]
    for config in calls:
        function(config.function, flow.file)
    before = next((n for n, step in enumerate(flow.handlers) if isinstance(step.config, Call)), len(flow.handlers))
    rejects = Rejects(flow.quality)
    pipeline = Pipeline(flow.model_copy(update={"handlers": flow.handlers[:before]}), NO_FILE, rejects)
    frame = pipeline.all([pipeline.block(empty(flow.loader))])
    if not calls:
        conform.conform(flow, NO_FILE, frame, rejects)
