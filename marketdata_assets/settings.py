"""Every environment variable the project reads, once, typed.

Reading happens when `Settings()` is called, never at import. What a server's URL is when its variable is unset is
decided in `local.endpoints`, not here.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from marketdata_assets import domains, secret_values, server_addresses
from marketdata_assets.errors import TerminalError, did_you_mean

PREFIX = "MARKETDATA_"
NOT_ADDRESSES = (("budgets", "database"), ("ray_address", "local"))
READ_ELSEWHERE = ("BRAIN_EMAIL_", "BRAIN_PASSWORD_", "TEST_", "UID", "GID", "VERSION", "INPUT", "FIXTURES", "CHAOS")
"""Beginnings of what follows the prefix in names that accounts, the compose file and the tests read."""


class BadSettings(TerminalError):
    """Variables with values that cannot be used, or with names that nothing reads. No secret is shown."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))


QuietSeconds = Annotated[
    float, Field(description="a file is complete when two scans this far apart see the same size and time")
]


MONGO_DATASETS = (
    "regular_alphas",
    "super_alphas",
    "alpha_pnl",
    "alpha_daily_pnl",
    "alpha_yearly_stats",
    "alpha_turnover",
    "alpha_sharpe",
    "alpha_self_correlation",
    "alpha_prod_correlation",
    "alpha_power_pool_correlation",
    "alpha_submission_check",
    "brain_operators",
    "brain_data_sets",
    "brain_data_fields",
)


def _one_database_each(names: dict[str, str]) -> dict[str, str]:
    if unknown := sorted(names.keys() - set(MONGO_DATASETS)):
        raise ValueError(
            f"names {unknown[0]!r}, which is not kept in MongoDB; {did_you_mean(unknown[0], MONGO_DATASETS)}"
        )
    used: dict[str, str] = {}
    for dataset in MONGO_DATASETS:
        name = names.get(dataset, dataset)
        if name in used:
            raise ValueError(f"puts {used[name]} and {dataset} into one database {name!r}; give each its own")
        used[name] = dataset
    return names


DatabaseNames = Annotated[
    dict[str, Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")]], AfterValidator(_one_database_each)
]


def _known_domains(text: str) -> str:
    domains.chosen(text)
    return text


class _Variables(EnvSettingsSource):
    """Parses the fields whose variables are set; the library parses all fields, which takes ten times as long."""

    def __call__(self) -> dict[str, Any]:
        found = {}
        for name, field in self.settings_cls.model_fields.items():
            if (text := self.env_vars.get(f"{self.env_prefix}{name}".lower())) is not None:
                try:
                    found[name] = self.prepare_field_value(name, field, text, value_is_complex=False)
                except ValueError as error:
                    raise SettingsError(f'error parsing value for field "{name}"') from error
        return found


class _FromEnvironment(BaseSettings):
    """Values of variables, and of the files that variables with _FILE behind their names point at."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        prefix = settings_cls.model_config.get("env_prefix", "")
        names = [f"{prefix}{name}".upper() for name in settings_cls.model_fields]
        values = secret_values.from_files(names, os.environ)
        variables = _Variables(settings_cls)
        variables.env_vars = {**variables.env_vars, **{name.lower(): value for name, value in values.items()}}
        return init_settings, variables


class Settings(_FromEnvironment):
    """The environment as one frozen value; a field `x` is the variable `MARKETDATA_X`.

    A database URL that is None means the local stack under `home`.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    def __init__(self, **values: Any) -> None:
        """Read the environment. Raises BadSettings and BadSecretFile."""
        problems = list(_unknown(os.environ, type(self).model_fields))
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise BadSettings([*map(_problem, error.errors()), *problems]) from None
        except SettingsError as error:
            name = re.sub(r'.*field "(\w+)".*', r"\1", str(error), flags=re.DOTALL).upper()
            raise BadSettings([f"{PREFIX}{name}: {os.environ.get(PREFIX + name)!r} is no JSON", *problems]) from None
        problems += _bad_addresses(vars(self))
        if problems:
            raise BadSettings(problems)

    home: Path = Field(default=Path(".marketdata"), description="data folder of the local stack and of Dagster")
    dagster_home: Path | None = Field(
        default=None, description="folder with a dagster.yaml that replaces the one of this project; only read"
    )

    domains: Annotated[str, AfterValidator(_known_domains)] | None = Field(
        default=None,
        description=f"domains that are loaded, with commas between; default all: {', '.join(domains.OWN)}",
    )

    postgres_dsn: str | None = Field(
        default=None, description="TimescaleDB or PostgreSQL for bars and flows; default the local stack"
    )
    mongo_uri: str | None = Field(default=None, description="MongoDB for alphas; default the local stack")
    mongo_databases: DatabaseNames = Field(
        default_factory=dict,
        description='MongoDB databases with other names than their assets, as {"regular_alphas": "wq_regular"}',
    )
    clickhouse_url: str | None = Field(
        default=None, description="ClickHouse over HTTP for ticks and exchanges; default the local stack"
    )
    clickhouse_cluster: str | None = Field(
        default=None,
        description="cluster of one shard whose replicas get all tables of ClickHouse; default none, one server",
    )
    nats_url: str | None = Field(
        default=None, description="NATS with JetStream for the collector; default the local stack"
    )
    redis_url: str | None = Field(
        default=None, description="Redis for the last values of the collector; default none, no cache"
    )
    collector_token: SecretStr | None = Field(default=None, description="what POST /subscriptions has to show")
    collector_secrets: Path | None = Field(
        default=None, description="addresses with passwords and the token of the collector, mode 0600"
    )

    budgets: str | None = Field(
        default=None,
        pattern=r"^(database|postgres(ql)?://.+)$",
        description="rate budgets that hosts share: `database` for a table in that of MARKETDATA_POSTGRES_DSN, or"
        " postgresql://...; default files in HOME/budgets, for the processes of this machine",
    )

    postgres_port: int = Field(default=0, description="port of the local PostgreSQL; 0 takes a free one")
    mongo_port: int = Field(default=0, description="port of the local Mongo-wire server; 0 takes a free one")
    clickhouse_port: int = Field(default=0, description="port of the local ClickHouse; 0 takes a free one")
    nats_port: int = Field(default=0, description="port of the local NATS server; 0 takes a free one")
    ui_port: int = Field(default=3000, description="port of the Dagster UI")
    ui_token: SecretStr | None = Field(
        default=None, description="token of the UI's login; default a random one in HOME/dagster/ui_token"
    )
    ui_hosts: str | None = Field(
        default=None,
        description="names that the UI is called by besides localhost, such as that of a reverse proxy, with commas"
        " between",
    )

    code_url: str | None = Field(
        default=None,
        description="where the source of this package is, such as https://github.com/OWNER/NAME/blob/v1.2.0; pages of"
        " assets link there instead of to files of this machine",
    )

    bars_dir: Path | None = Field(default=None, description="yearly zips of 1-minute bars; default HOME/bars")
    bars_quiet_seconds: QuietSeconds = 30.0
    bars_label: Literal["end", "start"] = Field(
        default="end",
        description="which end of its minute the files label a bar by whose profile does not say it: `end` (09:31 to"
        " 15:00), or `start` (09:30 to 14:59), which is converted",
    )
    bars_profiles: Path | None = Field(
        default=None, description="profiles of files of minute bars, besides the shipped ones; default none"
    )
    alphas_dir: Path | None = Field(default=None, description="raw slices and packages of alphas; default HOME/alphas")
    alphas_quiet_seconds: QuietSeconds = 30.0
    brain_url: str = Field(
        default="https://api.worldquantbrain.com", description="the BRAIN API; https, or http on loopback"
    )
    brain_accounts: Path | None = Field(default=None, description="list of accounts; default HOME/brain/accounts.json")
    brain_credentials: Path | None = Field(
        default=None, description="e-mail and password per account, mode 0600; default HOME/brain/credentials.json"
    )
    brain_requests_per_minute: float = Field(default=120.0, description="budget of one account, over all processes")
    brain_records: dict[str, Any] = Field(
        default_factory=lambda: {"min_sharpe": 1.25},
        description='alphas whose record sets are fetched, as {"status": ["ACTIVE"], "region": ["USA"]}; default'
        ' {"min_sharpe": 1.25}',
    )
    providers: Path | None = Field(default=None, description="providers file of ticks; default the shipped one")
    tushare_url: str = Field(
        default="https://api.tushare.pro", description="Tushare's HTTP API; https, or http on loopback"
    )
    yahoo_url: str = Field(default="https://query1.finance.yahoo.com", description="Yahoo's chart API")
    alpaca_url: str = Field(default="https://data.alpaca.markets", description="Alpaca's market data API")
    ticks_dir: Path | None = Field(default=None, description="dropped tick files; default HOME/ticks")
    ticks_quiet_seconds: QuietSeconds = 30.0
    ticks_symbols: Path | None = Field(
        default=None, description="list of symbols; default Tushare's, and dropped files"
    )
    reference_dir: Path | None = Field(
        default=None, description="dropped files of reference data; default HOME/reference"
    )
    ticks_months: int = Field(
        default=24,
        ge=2,
        description="months that are partitions of ticks, up to this one; days are final after their month has ended",
    )
    ticks_workers: int = Field(default=8, ge=1, description="concurrent requests to one provider of ticks")
    ticks_confirm_days: int = Field(
        default=1, ge=1, le=30, description="trading days after which an answer makes a day of ticks final"
    )
    ticks_deadline_days: int = Field(
        default=5, ge=1, le=30, description="trading days after which a day of ticks is not requested again"
    )
    captures_dir: Path | None = Field(default=None, description="captures of exchanges; default HOME/captures")
    captures_quiet_seconds: QuietSeconds = 30.0
    exchange_days: int = Field(
        default=90,
        ge=2,
        description="days that are partitions of exchanges, up to this one; a venue publishes a day after its end",
    )
    exchange_hosts: dict[str, str] = Field(
        default_factory=dict,
        description='REST hosts for history, as {"binance-spot": "https://host"}; default the venues\' own',
    )
    exchange_reserved: dict[str, Annotated[float, Field(ge=0, le=0.95)]] = Field(
        default_factory=dict,
        description="shares of the venues' REST limits that are left to other programs behind the same address, as"
        ' {"binance": 0.5} for a trading bot; default none',
    )
    exchange_keep_days: dict[str, int] | None = Field(
        default=None, description='days that records of exchanges are kept, as {"trade": 90}; default no limit'
    )
    flows_dir: Path = Field(default=Path("flows"), description="your own flows, a folder with a defs.yaml each")
    flows_data: Path | None = Field(default=None, description="files that flows load; default HOME/flows_data")
    flows_quiet_seconds: QuietSeconds = 30.0
    workers: int | None = Field(
        default=None, ge=1, description="processes of one load; default one per core, of this machine or of the cluster"
    )
    ray_address: str | None = Field(
        default=None,
        description="Ray cluster that loads are spread over: host:6379, ray://host:10001, or `local` to start one;"
        " default processes of this machine",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="log lines as text, or one JSON object each"
    )
    keep_runs_days: int = Field(default=14, ge=1, description="days that Dagster's runs and their events are kept")
    backup_dir: Path | None = Field(default=None, description="folder of the daily backups; without it there are none")
    backup_keep: int = Field(default=7, ge=1, description="daily backups that are kept")
    alert_webhook: SecretStr | None = Field(
        default=None, description="webhook that gets a POST on failed runs and overdue assets; Slack's format"
    )
    heartbeat_url: SecretStr | None = Field(
        default=None, description="service outside that gets a POST every minute, and reports when these stop"
    )
    alert_smtp: SecretStr | None = Field(
        default=None, description="mail server for the same alerts: smtp://user:password@host:587, or smtps://host:465"
    )
    alert_mail: str | None = Field(default=None, description="sender and receivers of that mail, with commas between")

    def missing_folders(self, *only: str) -> list[str]:
        """The folders that variables name and that do not exist, each with its variable and the remedy; all, or those
        of some fields."""
        names = [name for name in sorted(self.model_fields_set) if name.endswith("_dir") or name == "flows_data"]
        return [
            f"{PREFIX}{name.upper()}: {folder} is no folder; create it, or correct the variable"
            for name in names
            if (not only or name in only) and (folder := getattr(self, name)) and not folder.is_dir()
        ]

    @property
    def domain_names(self) -> tuple[str, ...]:
        """The chosen `domains`, and those that they need."""
        return domains.chosen(self.domains)

    @property
    def ui_host_names(self) -> list[str]:
        """The names in `ui_hosts`."""
        return [name.strip() for name in (self.ui_hosts or "").split(",") if name.strip()]

    @property
    def root(self) -> Path:
        """`home` as an absolute path."""
        return self.home.absolute()

    @property
    def bars_folder(self) -> Path:
        """The folder of yearly zips and loose CSV files of minute bars."""
        return (self.bars_dir or self.root / "bars").absolute()

    @property
    def alphas_folder(self) -> Path:
        """The folder of raw slices and packages of alphas, with a subfolder for each account."""
        return (self.alphas_dir or self.root / "alphas").absolute()

    @property
    def brain_folder(self) -> Path:
        """Where the sessions and budgets of BRAIN accounts are kept."""
        return self.root / "brain"

    @property
    def brain_accounts_file(self) -> Path:
        """The list of accounts."""
        return (self.brain_accounts or self.brain_folder / "accounts.json").absolute()

    @property
    def brain_credentials_file(self) -> Path:
        """E-mails and passwords that are not in the environment."""
        return (self.brain_credentials or self.brain_folder / "credentials.json").absolute()

    @property
    def ticks_folder(self) -> Path:
        """The folder of dropped files of bars; those of order books are in its subfolder `order_book`."""
        return (self.ticks_dir or self.root / "ticks").absolute()

    @property
    def reference_folder(self) -> Path:
        """The folder of dropped files of reference data, such as `suspensions_2026-03.csv`."""
        return (self.reference_dir or self.root / "reference").absolute()

    @property
    def budgets_folder(self) -> Path:
        """Where processes that use the same provider count their requests."""
        return self.root / "budgets"

    @property
    def turns_folder(self) -> Path:
        """Where the processes of this machine wait for each other's writes."""
        return self.root / "turns"

    @property
    def captures_folder(self) -> Path:
        """The folder that captures are written to and read from."""
        return (self.captures_dir or self.root / "captures").absolute()

    @property
    def flows_folder(self) -> Path:
        """The folder of the definitions of your own flows; it need not exist."""
        return self.flows_dir.absolute()

    @property
    def flows_data_folder(self) -> Path:
        """The folder of the files of all flows; each flow names its subfolder."""
        return (self.flows_data or self.root / "flows_data").absolute()


class CollectorSettings(_FromEnvironment):
    """Variables without our prefix that are stronger than the collector's file; see `collector.config.Variables`."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)

    symbols: str | None = Field(default=None, description="symbols of every market, with commas between")
    exchanges: str | None = Field(
        default=None, description="venues that are collected, with commas between; all others are disabled"
    )
    clickhouse_direct_write: bool | None = Field(default=None, description="clickhouse.direct_write")
    redis_cache: bool | None = Field(default=None, description="redis.cache")
    nats_url: str | None = Field(default=None, description="the same as MARKETDATA_NATS_URL, which goes before it")
    log_level: str | None = Field(default=None, description="log_level")
    http_host: str | None = Field(default=None, description="http.host")
    http_port: int | None = Field(default=None, description="http.port")


def _problem(error: Mapping[str, Any]) -> str:
    """A value that is not as declared, such as `MARKETDATA_WORKERS: 'abc' should be a valid integer`."""
    name = str(error["loc"][0]).upper()
    own = error.get("ctx", {}).get("error")
    told = str(own or str(error["msg"]).removeprefix("Input ").partition(",")[0])
    return f"{PREFIX}{name}: {secret_values.without_password(repr(error['input']))} {told}"


def _bad_addresses(values: Mapping[str, Any]) -> Iterator[str]:
    for name in server_addresses.FORMS:
        value = values[name]
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text and (name, text) not in NOT_ADDRESSES and (found := server_addresses.problem(name, text)):
            yield f"{PREFIX}{name.upper()}: {found}"


def _unknown(environ: Mapping[str, str], fields: Mapping[str, Any]) -> Iterator[str]:
    known = {f"{PREFIX}{name.upper()}" for name in fields}
    for name in sorted(environ):
        variable = name.upper().removesuffix(secret_values.SUFFIX)
        read = variable in known or variable.removeprefix(PREFIX).startswith(READ_ELSEWHERE)
        if variable.startswith(PREFIX) and not read:
            yield f"{name}: nothing reads a variable of this name; {did_you_mean(variable, known)} Rename or unset it."
