"""manualbp new."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class New:
    """Write a commented derivation with one step left to fill in."""

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """The Python file to write."""
    force: bool = False
    """Replace the file if it exists."""

    def __call__(self) -> int:
        """Write the file, and say how to go on."""
        path = Path(self.file)
        if path.suffix != ".py":
            raise ValueError(f"{self.file!r} must be a Python file; write {path.name or 'hw'}.py")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{self.file!r}: its folder does not exist; create it first")
        text = files("compare.commands").joinpath("starter.py.txt").read_text("utf-8").replace("FILE", self.file, 1)
        try:
            with open(path, "w" if self.force else "x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ValueError(f"{self.file} exists; choose another name, or replace it with --force") from None
        except OSError as error:
            raise ValueError(f"{self.file} cannot be written: {os.strerror(error.errno or 0)}") from None
        print(f"{self.file} is written: one step of it, dz2, is yours.\nnext: manualbp check {self.file}")
        return 0
