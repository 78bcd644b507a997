"""Months of accounts that are no rectangle are packaged and imported in one run, which the repair requests."""

from marketdata_assets.defs.alphas.assets import JOB, OP
from marketdata_assets.defs.checks import specs
from marketdata_assets.defs.selection import config_of
from tests.defs.alpha_runs import MONTHS, PACKAGES, REGULAR, SUMMARY, SUPER, AlphasEnv, alpha, drop_slice, keys
from tests.defs.bar_runs import execute, failures
from tests.defs.nights import night

SOME = {"lk": [MONTHS[0], MONTHS[2]], "zz": [MONTHS[1]]}
PARTS = keys(["lk"], SOME["lk"]) | keys(["zz"], SOME["zz"])


def delivered(alphas_env: AlphasEnv) -> None:
    for account, months in SOME.items():
        for number, month in enumerate(months):
            drop_slice(alphas_env.root, account, month, [alpha(f"{account}{number}aaaa", month)])
    alphas_env.partitions(*SOME)


def test_repair_imports_scattered_months_in_one_run_and_then_rests(alphas_env: AlphasEnv) -> None:
    delivered(alphas_env)
    [request] = night(alphas_env.instance).run_requests
    assert (request.job_name, request.run_config) == (JOB, config_of(OP, SOME))
    result = execute(alphas_env.instance, JOB, request.run_config)
    assert result.success, failures(result)
    assert (alphas_env.ids("regular", "lk"), alphas_env.ids("regular", "zz")) == ({"lk0aaaa", "lk1aaaa"}, {"zz0aaaa"})
    for asset in (PACKAGES, REGULAR, SUPER):
        assert alphas_env.materialized(asset) == PARTS
    assert alphas_env.instance.get_latest_materialization_event(SUMMARY) is not None
    checks = [spec.key for asset in (REGULAR, SUPER) for spec in specs(asset.to_user_string())]
    found = alphas_env.instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    assert {found[check].run_id for check in checks} == {result.run_id}
    assert night(alphas_env.instance).run_requests == []


def test_failed_month_is_named_and_shown_as_failed_and_the_others_are_loaded(alphas_env: AlphasEnv) -> None:
    delivered(alphas_env)
    drop_slice(alphas_env.root, "zz", MONTHS[1], []).write_text("[{")
    result = execute(alphas_env.instance, JOB, config_of(OP, SOME))
    assert f"zz|{MONTHS[1]}" in str(result.get_step_failure_events()[0].step_failure_data.user_failure_data.metadata)
    assert alphas_env.materialized(PACKAGES) == keys(["lk"], SOME["lk"])
    assert alphas_env.ids("regular", "lk") == {"lk0aaaa", "lk1aaaa"}


def test_unknown_account_is_named(alphas_env: AlphasEnv) -> None:
    delivered(alphas_env)
    assert (
        "'nobody' is no account; there are lk, zz"
        in failures(execute(alphas_env.instance, JOB, config_of(OP, {"nobody": [MONTHS[0]]})))[OP]
    )
