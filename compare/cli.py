"""The command `manualbp`: finds the command that is asked for, and turns every ending into one line and a status.

0 pass; 1 a verdict is not ok; 2 usage, data, or user code that cannot run; 3 logs incomplete; 4 diverged; 130 and 143
signals.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import importlib
import inspect
import io
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn


@dataclass(frozen=True)
class Command:
    """A command: the dataclass of its options, as `module:class`, whose instance is called to run it."""

    options: str
    summary: str
    example: str

    def load(self) -> Any:
        """The class, imported only now: `manualbp --help` loads none."""
        module, _, name = self.options.partition(":")
        return getattr(importlib.import_module(module), name)


COMMANDS: dict[str, Command] = {
    "check": Command(
        "compare.commands.check:Check",
        "is a derivation right, and if not, which step is wrong?",
        "manualbp check hw.py",
    ),
    "new": Command(
        "compare.commands.new:New",
        "write a commented derivation to fill in",
        "manualbp new hw.py",
    ),
    "grade": Command(
        "compare.commands.grade:GradeFolder",
        "grade a folder of submissions against a reference",
        "manualbp grade submissions --reference teacher.py --out grades.csv",
    ),
    "causes": Command(
        "compare.commands.causes:Causes",
        "list the mistakes that a wrong step can be explained by",
        "manualbp causes missing_activation_derivative",
    ),
    "train": Command(
        "compare.commands.train:Train",
        "train by hand next to autograd, comparing every gradient",
        "manualbp train --data digits --hidden 64 --l2 1e-4",
    ),
    "resume": Command(
        "compare.commands.resume:Resume",
        "go on with a run that was stopped or killed, bit for bit",
        "manualbp resume NAME",
    ),
    "board": Command(
        "compare.commands.board:Board",
        "look at runs in TensorBoard",
        "manualbp board",
    ),
    "plot": Command(
        "compare.commands.plot:Plot",
        "draw the curves of one run or several, as PNG and SVG",
        "manualbp plot NAME",
    ),
    "report": Command(
        "compare.commands.report:RunReport",
        "write a run as one HTML page",
        "manualbp report NAME",
    ),
    "runs": Command(
        "compare.commands.runs:Runs",
        "list all runs with their verdicts",
        "manualbp runs",
    ),
    "diff": Command(
        "compare.commands.diff:Diff",
        "compare two runs: options, first difference, curves",
        "manualbp diff FIRST SECOND",
    ),
    "replay": Command(
        "compare.commands.replay:Replay",
        "repeat the step at which a run's gradients did not agree",
        "manualbp replay NAME",
    ),
    "lecture": Command(
        "compare.commands.lecture:Lecture",
        "run the lecture: each equation and exercise gets a verdict",
        "manualbp lecture --report lecture.html",
    ),
    "completion": Command(
        "compare.commands.completion:Completion",
        "print a script that completes commands in a shell",
        'eval "$(manualbp completion bash)"',
    ),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as after Ctrl-C, with a status of its own."""

    exit_status = 143


class UsageError(Exception):
    """Options that make no sense, in one line."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, and never shows a traceback unless MANUALBP_TRACEBACK is set."""
    args = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a letter shows its escape
        sys.stdout.reconfigure(errors="backslashreplace")
    with contextlib.suppress(ValueError):  # not in the main thread: signals are someone else's
        signal.signal(signal.SIGTERM, _terminate)
    try:
        status = _run(args)
        sys.stdout.flush()  # a reader that has gone and a full disk are noticed here, and not at the very end
        return status
    except KeyboardInterrupt as stop:
        return _refused("stopped", getattr(stop, "exit_status", 130))
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, UsageError) as error:
        if os.environ.get("MANUALBP_TRACEBACK"):
            raise
        return _refused(str(error), 2)
    except Exception as error:
        if os.environ.get("MANUALBP_TRACEBACK"):
            raise
        if isinstance(error, OSError) and error.filename and error.strerror:  # a full disk, a folder that has gone
            where = ascii(os.fspath(error.filename))[1:-1] if not isinstance(error.filename, int) else "a file"
            return _refused(f"{where}: {error.strerror}; check the path, its permissions and the space there", 2)
        return _refused(f"{type(error).__name__}: {error} (MANUALBP_TRACEBACK=1 shows where)", 2)


def script() -> NoReturn:
    """The installed command: `main`, and an end of the process that does not take torch apart for most of a second."""
    status = 2

    @atexit.register  # what is registered first runs last
    def leave() -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        os._exit(status)

    status = main()
    sys.exit(status)


def _run(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_help())
        return 0 if args else 2
    if args[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"manualbp {version('manualbp')}")
        return 0
    if args[0] not in COMMANDS:
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"no command {args[0]!r}{hint}; commands: {', '.join(COMMANDS)}")
    command = COMMANDS[args[0]]
    options = command.load()
    run: Callable[[], int] = _parsed(options, args[1:], command, f"manualbp {args[0]}")
    return run()


def _parsed(options: Any, args: list[str], command: Command, prog: str) -> Any:
    """What runs the command: an instance of its dataclass. tyro's box of an error becomes one line."""
    import tyro

    defaults = options.defaults(args) if hasattr(options, "defaults") else tyro.MISSING_NONPROP
    summary = command.summary[0].upper() + command.summary[1:]
    about = inspect.cleandoc(options.__doc__ or "").partition("\n\n")[2]  # what the summary leaves out
    parts = (summary if summary.endswith("?") else f"{summary}.", about, f"Example: {command.example}")
    paragraphs = [paragraph for part in parts for paragraph in part.split("\n\n") if paragraph]
    description = "\n\n".join(textwrap.fill(paragraph, 80, break_on_hyphens=False) for paragraph in paragraphs)
    said, helped = io.StringIO(), io.StringIO()
    without_colour = contextlib.redirect_stdout(helped) if os.environ.get("NO_COLOR") else contextlib.nullcontext()
    try:
        with contextlib.redirect_stderr(said), without_colour:  # tyro takes its colours by stdout alone
            return tyro.cli(
                options,
                prog=prog,
                args=args,
                default=defaults,
                description="",  # tyro would join its lines, however long they become
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as end:
        if end.code:
            wrong = _in_one_line(_COLOUR.sub("", said.getvalue()))
            raise UsageError(f"{wrong}; `{prog} --help` lists the options") from None
        print(helped.getvalue() + description)  # after the options of --help
        return lambda: 0


_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PLAINER = (  # tyro's and Python's wordings, which speak of types
    (r"no type matching (.*) could be instantiated from \[(.*)\]", r"\2 is none of \1"),
    (r"invalid literal for int\(\) with base 10: ('.*')", r"\1 is no whole number"),
    (r"could not convert string to float: ('.*')", r"\1 is no number"),
)


def _in_one_line(box: str) -> str:
    """The sentence in tyro's box, without frame, title and line breaks, and the option that it suggests."""
    framed = box.startswith("╭")  # else title and sentence stand under each other, with a rule between them
    lines = [line.strip(" │").strip() for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    parts = [" ".join(part.split()) for part in re.split(r"\n[─-]{3,}(?=\n)", "\n".join(lines))]
    text = parts[0 if framed else min(1, len(parts) - 1)].partition(" Got errors:")[0]
    text = re.sub(r"^Error parsing (options|\S*Config\S*):\s*", "", text).removeprefix("Error parsing ")
    for wording, plainer in _PLAINER:
        text = re.sub(wording, plainer, text)
    suggested = re.search(r"Perhaps you meant:\W*(--[\w-]+)", " ".join(parts))
    hint = f" (did you mean {suggested[1]}?)" if suggested else ""
    return f"{text.rstrip('. ')}{hint}"


def _help() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    examples = "\n".join(f"  {command.example}" for command in COMMANDS.values())
    return (
        "Is the backpropagation that you derived by hand right, and if not, which step\nis wrong?\n\n"
        f"usage: manualbp COMMAND [options]\n\ncommands:\n{commands}\n\nexamples:\n{examples}\n\n"
        "`manualbp COMMAND --help` lists a command's options."
    )


def _refused(line: str, status: int) -> int:
    print(f"manualbp: {' '.join(line.split())}", file=sys.stderr)
    return status


def _terminate(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_IGN)  # `timeout` signals its child, and then its whole group
    raise Terminated


if __name__ == "__main__":
    script()
