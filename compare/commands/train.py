"""manualbp train."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import tyro

from compare.run.config import TrainConfig, from_toml


@dataclass(frozen=True)
class Train:
    """Train by hand-written gradients next to autograd."""

    options: Annotated[TrainConfig, tyro.conf.arg(name="")] = TrainConfig()
    config: str | None = None
    """TOML file of options; those on the command line go before it."""
    quiet: bool = False
    """Print the verdict alone."""
    json: bool = False
    """Print the result as JSON on standard output, and nothing else."""

    @classmethod
    def defaults(cls, args: Sequence[str]) -> Self:
        """The options of the file that --config names. Raises `ValueError` where it cannot be used."""
        for position, argument in enumerate(args):
            name, equals, value = argument.partition("=")
            if name == "--config":
                path = value if equals else next(iter(args[position + 1 :]), "")
                options = from_toml(path)
                elsewhere = Path(options.runs).is_absolute() or ".." in Path(options.runs).parts
                if elsewhere and not any(other.partition("=")[0] == "--runs" for other in args):
                    raise ValueError(
                        f"--config {ascii(path)[1:-1]}: its runs are to go to {options.runs!r}, which is not below "
                        "this folder; say --runs yourself to write there"
                    )
                return cls(options=options, config=path)
        return cls()

    def __call__(self) -> int:
        """Train, print, and return the exit status."""
        from compare.run.folder import refuse_taken

        # before torch is imported: who is refused is refused at once
        refuse_taken(Path(self.options.runs), self.options.name, overwrite=self.options.overwrite)
        from compare.run.train import execute
        from compare.show.terminal import Terminal

        terminal = Terminal(quiet=self.quiet or self.json)
        with terminal:
            result = execute(self.options, terminal)
        if self.json:
            print(json.dumps(result.to_json()))
        else:
            terminal.finished(result)
        return result.exit_status
