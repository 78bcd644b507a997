"""Every environment variable the project reads, once, typed.

Reading happens when `Settings()` is called, never at import. What a server's URL is when its variable is unset is
decided in `local.endpoints`, not here.
"""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The environment as one frozen value; a field `x` is the variable `MARKETDATA_X`.

    A database URL that is None means the local stack under `home`.
    """

    model_config = SettingsConfigDict(env_prefix="MARKETDATA_", env_ignore_empty=True, frozen=True)

    home: Path = Field(default=Path(".marketdata"), description="data folder of the local stack and of Dagster")

    postgres_dsn: str | None = Field(default=None, description="TimescaleDB or PostgreSQL for bars and flows")
    mongo_uri: str | None = Field(default=None, description="MongoDB for alphas")
    clickhouse_url: str | None = Field(default=None, description="ClickHouse over HTTP for ticks and exchanges")
    nats_url: str | None = Field(default=None, description="NATS with JetStream for the collector")

    postgres_port: int = Field(default=0, description="port of the local PostgreSQL; 0 takes a free one")
    mongo_port: int = Field(default=0, description="port of the local Mongo-wire server; 0 takes a free one")
    clickhouse_port: int = Field(default=0, description="port of the local ClickHouse; 0 takes a free one")
    nats_port: int = Field(default=0, description="port of the local NATS server; 0 takes a free one")
    ui_port: int = Field(default=3000, description="port of the Dagster UI")

    bars_dir: Path | None = Field(default=None, description="yearly zips of 1-minute bars; default HOME/bars")
    bars_quiet_seconds: float = Field(default=30.0, description="a file younger than this is still being written")
    workers: int | None = Field(default=None, description="processes of one fan-out; default one per core")

    @property
    def root(self) -> Path:
        """`home` as an absolute path."""
        return self.home.absolute()

    @property
    def bars_folder(self) -> Path:
        """Where yearly zips and loose CSV files of minute bars are looked for."""
        return (self.bars_dir or self.root / "bars").absolute()
