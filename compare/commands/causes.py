"""manualbp causes."""

from __future__ import annotations

import difflib
import json
import textwrap
from dataclasses import asdict, dataclass
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Causes:
    """List the causes that a wrong step can have; with NAME, what that mistake is, how it looks and how to mend it."""

    name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="[NAME]")] = ""
    """The identifier of one cause."""
    json: bool = False
    """Print as JSON on standard output."""

    def __call__(self) -> int:
        """Print, and return 0. Raises ValueError for a cause that there is none of."""
        from compare.explain.causes import CAUSES

        if self.name and self.name not in CAUSES:
            close = difflib.get_close_matches(self.name, CAUSES, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"no cause is called {self.name!r}{hint}; `manualbp causes` lists them")
        chosen = {self.name: CAUSES[self.name]} if self.name else CAUSES
        if self.json:
            print(json.dumps({name: asdict(cause) for name, cause in chosen.items()}, ensure_ascii=False, indent=2))
        elif self.name:
            cause = chosen[self.name]
            looks, mend = f"How it looks: {cause.looks}", f"How to mend it: {cause.mend}"
            shown = f"{self.name}: {cause.title}", cause.what, f"{looks}\n{mend}", f"{cause.titulo}: {cause.frase}"
            print("\n\n".join("\n".join(map(_wrapped, part.splitlines())) for part in shown))
        else:
            width = max(map(len, CAUSES))
            lines = (f"{name:<{width}}  {cause.title}" for name, cause in CAUSES.items())
            print("\n".join(_wrapped(line, width + 2) for line in lines))
        return 0


def _wrapped(line: str, indent: int = 0) -> str:
    return textwrap.fill(line, 80, subsequent_indent=" " * indent, break_on_hyphens=False)
