"""The documentation's page of causes and edits: `python -m compare.explain.page > docs/causes.md`."""

from __future__ import annotations

from compare.explain.causes import CAUSES
from compare.explain.edits import EDITS


def page() -> str:
    """The page, in Markdown: an entry a cause, and the table of edits that repairs and mutants are made of."""
    lines = [
        "# Causes",
        "",
        "Every wrong step that is explained gets one of these causes. A cause is named only where its repair makes the",
        "step right under every condition that is looked at; otherwise it is `unknown`, with evidence.",
        "`manualbp causes NAME` prints an entry. How explanations are found: [explanations.md](explanations.md).",
        "This page is written by `python -m compare.explain.page`.",
    ]
    for name, cause in CAUSES.items():
        lines += ["", f"## {name}", "", f"**{_sentence(cause.title)}.** {cause.what}", ""]
        lines += [f"*How it looks.* {cause.looks}", "", f"*Done right.* {cause.mend}", ""]
        lines += [f"*{_sentence(cause.titulo)}.* {cause.frase}"]
    lines += [
        "",
        "# Edits",
        "",
        "One table serves the search for a repair and, run the other way, `manualbp check --power`. The cause is the",
        "one that the edit mends unless what is put in or taken out says more: a factor that is the derivative of the",
        "activation, the size of a dimension, a penalty.",
        "",
        "| edit | mends | in words | em palavras |",
        "|---|---|---|---|",
    ]
    lines += [f"| {edit.name} | `{edit.cause}` | {edit.says} | {edit.diz} |" for edit in EDITS]
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    print(page(), end="")
