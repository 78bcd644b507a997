"""Where the files of a flow come from when they are not delivered into its folder, as its YAML declares it.

`fetching` brings them into the flow's folder, from which the flow loads them like any others.
"""

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from marketdata_assets.config_files import Section

URL = r"^[a-z][a-z0-9+]*://\S+$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class Rate(Section):
    """At most so many requests in so many seconds, over all runs on this machine."""

    requests: PositiveInt = 60
    per_seconds: PositiveInt = 60


class Cursor(Section):
    """How a page leads to the next one.

    `next` is where a response has the value of `param` for the next page, or its URL; the last page has none. Without
    `next` the value is a number that begins at `start` and grows by `step`; the last page has no rows.
    """

    param: str
    next: str | None = None
    start: int | None = None
    step: PositiveInt = 1


class Api(Section):
    """Pages of a JSON API. A new run begins with the last page it has, which may have grown."""

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    params: dict[str, str | int | float | bool] = Field(default={})
    headers: dict[str, str] = Field(default={})
    secret_params: dict[str, Annotated[str, Field(pattern=VARIABLE)]] = Field(default={})
    secret_headers: dict[str, Annotated[str, Field(pattern=VARIABLE)]] = Field(default={})
    cursor: Cursor | None = None
    rate: Rate = Rate()
    timeout_seconds: PositiveInt = 30
    max_retries: Annotated[int, Field(ge=0)] = 5
    max_pages: PositiveInt = 10_000


class Source(Section):
    """Files below a `url` (https, s3, sftp and others of fsspec), or the pages of an `api`.

    `options` are those of fsspec's file system, `secrets` options whose values are in environment variables. A web
    server may redirect to another one only where `redirect_hosts` names that, which gets no header of the options.
    """

    url: Annotated[str, Field(pattern=URL)] | None = None
    options: dict[str, Any] = Field(default={})
    secrets: dict[str, Annotated[str, Field(pattern=VARIABLE)]] = Field(default={})
    redirect_hosts: list[str] = Field(default=[])
    api: Api | None = None

    @model_validator(mode="after")
    def _one(self) -> "Source":
        if (self.url is None) == (self.api is None):
            raise ValueError("give either url: or api:")
        if self.api and (self.options or self.secrets or self.redirect_hosts):
            raise ValueError(
                "options, secrets and redirect_hosts belong to url; an api has secret_headers and secret_params"
            )
        return self
