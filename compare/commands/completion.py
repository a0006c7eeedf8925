"""manualbp completion."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Literal

import tyro


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands and options in a shell.

    For bash: put `eval "$(manualbp completion bash)"` into ~/.bashrc. For zsh: write it to a file `_manualbp` in a
    folder of $fpath.
    """

    shell: tyro.conf.Positional[Literal["bash", "zsh", "tcsh"]] = "bash"
    """The shell."""

    def __call__(self) -> int:
        """Print the script."""
        from compare.cli import COMMANDS

        commands = {name: command.load() for name, command in COMMANDS.items()}
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="manualbp",
                args=["--tyro-print-completion", self.shell],
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        print(said.getvalue())
        return 0
