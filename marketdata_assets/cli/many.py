"""Several values after one flag, as `--symbols A B C`; `--symbols A --symbols B` works as well."""

from collections.abc import Collection, Iterable
from typing import Any

from typer.core import TyperCommand


class ManyValues(TyperCommand):
    """A command whose options that may be given more than once take all words up to the next flag."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        many = {flag for parameter in self.params if getattr(parameter, "multiple", False) for flag in parameter.opts}
        return super().parse_args(ctx, repeated(args, many))


def repeated(args: Iterable[str], flags: Collection[str]) -> list[str]:
    """`--symbols A B` as `--symbols A --symbols B`, for these flags."""
    found: list[str] = []
    flag, values = "", 0
    for word in args:
        if word.startswith("-"):
            flag, values = (word if word in flags else ""), 0
        elif flag:
            values += 1
            found += [flag] if values > 1 else []
        found.append(word)
    return found
