"""Goes through a page: every command as printed, every query, in order."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from marketdata_assets.stores import clickhouse
from tests.docs.blocks_of_pages import RUN, SQL, Block, blocks

Variables = Mapping[str, str]
Shell = Callable[[str, Variables], tuple[int, str]]


class Stumbled(AssertionError):
    """Something on a page does not work as printed."""


@dataclass(frozen=True)
class Walker:
    """Who goes: how it runs a line, where the databases are, and the variables of an account at the providers."""

    shell: Shell
    postgres_dsn: str
    clickhouse_url: str
    account: Variables | None  # None leaves out what needs an account

    def page(self, page: Path) -> Iterator[str]:
        """Do what the page says and tell each step; raises Stumbled at the first that fails."""
        for block in blocks(page, *RUN, *SQL):
            if block.language in SQL:
                self.query(block)
                yield f"{block.place}: query"
                continue
            variables = self.account if block.language == "bash provider" else {}
            if variables is None:
                continue
            for line in block.commands():
                code, said = self.shell(line, variables)
                if code != 0:
                    raise Stumbled(f"{block.place}: {line}\nended with {code}:\n{said}")
                yield f"{block.place}: {line}"
        if script := blocks(page, "python"):
            self._python(script)
            yield f"{script[0].place}: python of the page, as one script"

    def _python(self, script: list[Block]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write("\n".join(block.text for block in script))
            file.flush()
            code, said = self.shell(f"python {file.name}", {})
        if code != 0:
            raise Stumbled(f"{script[0].place}: python of the page\nended with {code}:\n{said}")

    def query(self, block: Block) -> None:
        """Ask the block's query of its database."""
        try:
            if block.language == "sql psql":
                with psycopg.connect(self.postgres_dsn) as connection:
                    for statement in re.split(r";\s*\n", block.text):
                        connection.execute(statement)  # type: ignore[call-overload]
            else:
                with clickhouse.connect(self.clickhouse_url) as client:
                    client.query(block.text)
        except Exception as error:
            raise Stumbled(f"{block.place}: {error}") from error
