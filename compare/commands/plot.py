"""manualbp plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Plot:
    """Draw runs as PNG and SVG.

    One run: its losses, the gap of its gradients, and the gradient of each layer. Several: their losses compared.
    """

    names: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="RUN...")]
    """Names of runs, or their folders."""
    out: str = "figures"
    """Folder to write to; it is made if it is not there. Files of the same names are replaced."""
    theme: Literal["light", "dark"] = "light"
    """Dark on light, which prints well, or light on dark."""
    runs: str = "runs"
    """Folder of all runs."""

    def __call__(self) -> int:
        """Draw, and print the paths."""
        from compare.run.past import read_run
        from compare.show.drawing import render
        from compare.show.figures import comparison, of_run
        from compare.show.theme import THEMES

        if not self.names:
            raise ValueError("plot needs the name of a run; `manualbp runs` lists them")
        found = [read_run(name, Path(self.runs)) for name in self.names]
        for run in found:
            if not run.epochs:
                why = f"none of {run.damaged} lines of metrics.jsonl can be read" if run.damaged else "no epoch is done"
                raise ValueError(f"{run.name}: there is nothing to draw, {why}; wait for epoch 0, or train it again")
        drawings = of_run(found[0]) if len(found) == 1 else [comparison(found)]
        stem = f"{found[0].name}-" if len(found) == 1 else ""
        try:
            folder = Path(self.out)
            folder.mkdir(parents=True, exist_ok=True)
            for drawing in drawings:
                for form in ("png", "svg"):
                    path = folder / f"{stem}{drawing.name}.{form}"
                    path.write_bytes(render(drawing, form, THEMES[self.theme]))
                    print(path)
        except OSError as error:
            raise ValueError(f"--out {self.out}: cannot be written ({error.strerror}); choose another folder") from None
        return 0
