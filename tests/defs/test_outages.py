"""An outage in the middle of a run: the step is tried again for a while, unless a person waits for it."""

from collections.abc import Iterator

import dagster as dg
import pytest

from marketdata_assets.dagster_internals import DOCKER_IMAGE_TAG, GRPC_INFO_TAG
from marketdata_assets.defs import partition_results
from marketdata_assets.defs.partition_results import RETRY_SECONDS, as_dagster_failure, failure_reason
from marketdata_assets.errors import MarketDataError
from marketdata_assets.stores.errors import StoreAway, StoreFull

AWAY = StoreAway("ClickHouse", "connection refused")
LAUNCHED = {GRPC_INFO_TAG: "{}"}
IN_A_POD = {DOCKER_IMAGE_TAG: "registry.example/marketdata-assets:1"}


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(partition_results, "RETRY_SECONDS", (0, 0, 0))
    yield


def run(errors: list[MarketDataError], tags: dict[str, str]) -> dg.ExecuteInProcessResult:
    """A load that meets these errors, one each time that it is tried."""

    @dg.op
    def load() -> None:
        with as_dagster_failure():
            if errors:
                raise errors.pop(0)

    @dg.job
    def loading() -> None:
        load()

    return loading.execute_in_process(tags=tags, raise_on_error=False)


def test_a_run_survives_an_outage_that_ends(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(RETRY_SECONDS) == 3
    assert sorted(RETRY_SECONDS) == list(RETRY_SECONDS)
    assert run([AWAY] * 3, LAUNCHED).success
    assert run([AWAY] * 3, IN_A_POD).success
    assert "ClickHouse is not answering (connection refused)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("error", "tags", "tried"),
    [(AWAY, LAUNCHED, 4), (AWAY, {}, 1), (StoreFull("ClickHouse", "no space"), LAUNCHED, 1)],
    ids=["an outage that stays", "a command", "nothing that waiting mends"],
)
def test_what_does_not_end_fails_with_its_own_message(error: MarketDataError, tags: dict[str, str], tried: int) -> None:
    errors = [error] * 9
    result = run(errors, tags)
    [failed] = result.filter_events(lambda event: event.is_step_failure)
    assert failure_reason(failed) == str(error)
    assert 9 - len(errors) == tried
