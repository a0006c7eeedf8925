"""A run as one HTML page that needs no other file and no network: verdict, figures, formulas, and every number."""

from __future__ import annotations

from markupsafe import Markup

from compare.run.past import PastRun
from compare.show.check_html import render
from compare.show.drawing import svg
from compare.show.figures import of_run
from compare.show.formulas import mathml
from compare.show.numbers import fixed


def run_page(run: PastRun) -> str:
    """The page. Everything out of the run's folder is escaped."""
    drawings = of_run(run) if run.epochs else []
    tables = [{"title": drawing.title, "head": drawing.head, "rows": drawing.rows} for drawing in drawings]
    tables += [
        {"title": f"{name[0].upper()}{name[1:]}", "head": table.head, "rows": table.rows}
        for name, table in run.tables.items()
    ]
    return render(
        "run.html",
        run=run,
        facts=facts(run),
        mismatch=run.texts.get("mismatch", ""),
        drawings=[{"svg": Markup(svg(drawing)), "alt": drawing.alt} for drawing in drawings],
        formulas=[Markup(mathml(line.strip())) for line in run.texts.get("what is computed", "").splitlines()],
        tables=tables,
        settings=[*run.config.items(), *run.versions.items(), *run.machine.items()],
    )


def facts(run: PastRun) -> list[tuple[str, str]]:
    """What matters of a run, in words."""
    found = [("network", run.texts.get("network", "")), ("data", str(run.config.get("data", "")))]
    best = run.best_epoch
    if best is not None:
        at = run.epochs.index(best)
        accuracy = run.curve("manual", "accuracy/val")[at]
        more = "" if accuracy != accuracy else f", accuracy {accuracy:.4f}"
        since = run.overfitting_epoch
        found += [
            (
                "best epoch",
                f"{best} of {run.epochs[-1]}, validation loss {fixed(run.curve('manual', 'loss/val')[at])}{more}",
            ),
            ("validation", "no overfitting seen" if since is None else f"overfitting since epoch {since}"),
        ]
    if run.speed:
        found.append(("speed", f"{run.steps[-1]:,} steps in {run.seconds:.1f} s, {run.speed:,.0f} a second"))
    if run.damaged:
        found.append(("damaged", f"{run.damaged} lines of metrics.jsonl cannot be read and are left out"))
    return found
