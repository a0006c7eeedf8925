"""What a row of the table reached."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

KEPT = Path(__file__).with_name("figures.json")  # the figures last reached, by row


@dataclass(frozen=True)
class Outcome:
    """`reached` in words, with the number of repetitions; `ok` where it is what the row asks for."""

    count: int
    reached: str
    ok: bool

    def keep(self, row: str, command: str) -> None:
        figures = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        figures[row] = dataclasses.asdict(self) | {"command": command}
        KEPT.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n")
