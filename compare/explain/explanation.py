"""explain: the cause of each wrong step of a report, its line and its repair."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import torch

from compare.check.backward import Backward
from compare.check.collect import SECONDS as CHECK_SECONDS
from compare.check.conditions import Inputs
from compare.check.derivation import check_derivation
from compare.check.hooks import Forward
from compare.check.report import Report, Row
from compare.explain.bench import Bench
from compare.explain.causes import CAUSES
from compare.explain.custom import Custom
from compare.explain.evidence import evidence_of
from compare.explain.gathered import Evidence
from compare.explain.identify import (
    exchanged,
    forgotten_path,
    identify,
    lower_precision,
    nearly,
    of_the_penalty,
    unfinished,
)
from compare.explain.observe import Observation
from compare.explain.searcher import Searcher
from compare.explain.words import SEPARATOR, in_language, mended, mended_at_once, told_once

log = logging.getLogger(__name__)
Found = TypeVar("Found")
SECONDS = 10.0
# what an edit is called that may as well add up to a path that is left out: the graph then tells which it is
IN_DOUBT = (
    *("wrong_operand", "missing_factor", "extra_derivative", "order_of_operations", "special_case", "path_twice"),
    "unknown",
)
SHARE = 0.65  # of what is left of the time that the next step gets, where it is not the last
TOGETHER = 0.3  # share of the time for one edit that mends several steps
CARRIED = 0.4  # share of a step's time that is spent on it as one that carries on a factor, where deltas carry one
LOADED = 0.25  # share of the time, 2 s at most, that is left for the search however long its child took to start
AT_LEAST = 0.5  # seconds for what numbers tell at once, such as a sign, when the search has taken all the time
OBSERVED = 3  # observations in which a repair has to mend another step too
FEW, MANY = 6, 4096  # entries of a gradient on which edits are tried
WHOLE = "backward"  # the row of a backward as a whole: that it raises
WRONG = ("wrong", "invalid", "cancels", "imprecise")


def explain(
    report: Report,
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    language: str = "en",
    bench: Bench | None = None,
    custom: Custom | None = None,
) -> Report:
    """The report with cause, explanation, repair and line of every wrong row; as it is where none is wrong.

    Each wrong step is mended by itself, the one nearest to J first. A cause is named only where its repair makes the
    step right under every condition looked at; the same mistake in other steps is told once, with all its lines. Edits
    of the backward run in a child process; the user's files are read, never changed. At most about `seconds` are spent.
    `language` of the explanations: "en" or "pt". `bench` is where edits run in a process that is a child. `custom` is
    a backward that autograd calls, in place of one that can be called itself.
    """
    wrong = [row for row in report.rows if row.verdict in WRONG]
    if not wrong:
        return report
    started = time.monotonic()
    explained: dict[str, Row] = {}
    evidence = Evidence(forward, backward, inputs, [row.condition for row in wrong], seed, custom)
    if custom is not None:  # the check calls it in ways that these observations do not
        wrong = [row for row in wrong if evidence.shows(row.name)]
        if not wrong:
            return report
    raised = next((row for row in wrong if row.name == WHOLE), None)
    wrong = [row for row in wrong if row is not raised]
    with Searcher(backward, bench, forward, custom) as searcher:
        searcher.start(seconds)
        deadline = max(started + seconds, time.monotonic() + min(LOADED * seconds, 2.0))
        like: dict[str, str] = {}
        together = safely(partial(at_once, wrong, evidence, searcher, TOGETHER * seconds), dict[str, Row]())
        explained |= {n: in_language(language, r) for n, r in together.items()}
        if raised is not None:
            row = safely(partial(revived, raised, evidence, searcher, seconds), raised)
            explained[WHOLE] = in_language(language, row)
        wrong = [row for row in wrong if row.name not in explained]
        for left, row in zip(range(len(wrong), 0, -1), wrong, strict=True):
            if row.name in explained:
                continue
            others = [other for other in wrong if other.name not in (*explained, row.name)]
            searcher.waiting = [other.name for other in others]
            share = (deadline - time.monotonic()) * (SHARE if left > 1 else 1.0)
            found = replace(row, cause="unknown")  # unless there is time to find out
            if share > 0.05:
                failed = replace(found, explanation="looking for its cause failed; please report this derivation")
                found = safely(partial(_explained, row, evidence, searcher, like, share), failed)
            too = [other for other in others if found.repair and other.name in searcher.mended]
            told = mended_at_once([found, *too])
            explained |= {n: in_language(language, r) for n, r in told.items()}
    return replace(report, rows=told_once([explained.get(row.name, row) for row in report.rows], like))


def safely(find: Callable[[], Found], instead: Found) -> Found:
    """What is found, or this instead where looking for it fails: that costs an explanation, never the verdict."""
    try:
        return find()
    except Exception:
        log.warning("an explanation failed", exc_info=True)
        return instead


def explain_derivation(
    forward: Forward,
    backward: Backward,
    inputs: Inputs,
    *,
    dtype: torch.dtype | None = None,
    seed: int = 0,
    check_seconds: float = CHECK_SECONDS,
    seconds: float = SECONDS,
    language: str = "en",
) -> Report:
    """`check_derivation`, with the cause, line and repair of every wrong step.

    In a test: `explain_derivation(forward, backward, inputs).raise_if_wrong()`. The check begins no further condition
    after `check_seconds`; at most about `seconds` are spent on explaining.
    """
    report = check_derivation(forward, backward, inputs, dtype=dtype, seed=seed, seconds=check_seconds)
    return explain(report, forward, backward, inputs, seconds=seconds, seed=seed, language=language)


def at_once(wrong: Sequence[Row], evidence: Evidence, searcher: Searcher, seconds: float) -> dict[str, Row]:
    """Gradients of several inputs that one edit mends, as 1/m that is left out of the delta they all come from.

    The first row shows the edit, the others refer to it. Without the first or the last of them, if not all at once.
    """
    until = time.monotonic() + seconds
    if len(wrong) < 2:
        return {}
    condition = evidence.by_name.get(wrong[0].condition, evidence.order[0])
    seen = evidence.at(condition)
    final = [row for row in wrong if seen is not None and row.name in seen.inputs and _tells(seen, row.name)]
    if seen is None or len(final) < 2 or any(row.explanation.startswith("only in a later call") for row in final):
        return {}
    others = list(evidence.others(seen.condition, time.monotonic() + 0.3 * seconds))
    for rows in [final, *([final[1:], final[:-1]] if len(final) > 2 else [])]:
        names = [row.name for row in rows]
        share = (until - time.monotonic()) / 2
        if share < 0.1:
            break
        telling = [other for other in others if all(_tells(other, name) for name in names)][:2]
        for which, repair in enumerate(searcher.repairs(seen, telling, names[0], [], share, names[1:])):
            if repair["cause"] == "unknown" or not searcher.harmless(which, names[0], seen):
                continue
            if all(searcher.holds(which, names[0], other, names[1:]) for other in (seen, *others)):
                return mended_at_once(rows, repair)
    return {}


def revived(row: Row, evidence: Evidence, searcher: Searcher, seconds: float) -> Row:
    """The row of a backward that raises, with an edit after which it runs and is right in all it returns."""
    until = time.monotonic() + 0.6 * seconds
    every = (evidence.at(condition) for condition in evidence.order)
    seen = next((found for found in every if found is not None and WHOLE in found.invalid), None)
    if seen is None or not seen.local:
        return row
    others = list(evidence.others(seen.condition, time.monotonic() + 0.2 * seconds))
    repairs = searcher.revivals(seen, others[:3], until - time.monotonic())
    return replace(mended(row, repairs[0]), line=row.line) if repairs else row  # what was raised says where


def _explained(row: Row, evidence: Evidence, searcher: Searcher, like: dict[str, str], seconds: float) -> Row:
    condition = evidence.by_name.get(row.condition, evidence.order[0])
    seen = evidence.at(condition)
    if row.explanation.startswith("only in a later call"):
        return replace(row, cause="stale_state")
    until = time.monotonic() + seconds
    if seen is not None and not _tells(seen, row.name):
        seen = next((other for other in evidence.others(seen.condition, until) if _tells(other, row.name)), seen)
    if seen is None or row.name not in seen.local:
        return replace(row, cause="unknown")
    others = list(evidence.others(seen.condition, time.monotonic() + 0.2 * seconds))
    seen, others = telling_most(seen, others, row.name)
    smaller = [o for o in evidence.of_other_sizes(time.monotonic() + 0.1 * seconds) if _tells(o, row.name)]
    carried = seen.carrying(row.name)
    if carried is not seen and _tells(carried, row.name):  # two mistakes in one step: itself, and a factor that is kept
        share = CARRIED * (until - time.monotonic())
        alone = _repaired(row, seen, others, smaller, searcher, like, share, pairs=False)
        if alone is not None:
            return alone
        kept = [o.carrying(row.name) for o in others]
        both = _repaired(row, carried, kept, [], searcher, like, CARRIED * (until - time.monotonic()))
        if both is not None:
            says, _, diz = both.explanation.partition(SEPARATOR)
            before = seen.deltas(row.name)[-1]
            says += f" Besides, the factor that {before} carries is not undone after it."
            diz += f" Além disso, o fator que {before} carrega não é desfeito depois."
            return replace(both, explanation=f"{says}{SEPARATOR}{diz}")
    found = _repaired(row, seen, others, smaller, searcher, like, until - time.monotonic())
    if found is not None:
        return found
    until = max(until, time.monotonic() + AT_LEAST)
    told = exchanged([seen, *others], row.name) or forgotten_path([seen, *others], row.name)
    told = told or identify([seen, *others, *smaller], row.name, until)
    told = told or unfinished([seen, *others], row.name) or nearly([seen, *others], row.name)
    if told is None and row.verdict == "imprecise":
        return replace(row, cause="low_precision", explanation=f"{row.explanation}. {CAUSES['low_precision'].mend}")
    if told is not None:
        shape = f"{row.explanation}; " if row.verdict == "invalid" and row.explanation else ""
        return replace(row, cause=told.cause, explanation=f"{shape}dJ/d{row.name}: {told.says}")
    unread = f"; its source was not searched: {searcher.why}" if searcher.why else ""
    hint = "; look first at {}:{}  {}".format(*searcher.hint) if searcher.hint and not unread else ""
    return replace(row, cause="unknown", explanation=(row.explanation or evidence_of(seen, row.name)) + unread + hint)


def telling_most(seen: Observation, others: list[Observation], name: str) -> tuple[Observation, list[Observation]]:
    """An observation in which a step has many entries first: of few, or of zeros, too many formulas are right."""

    def _some(each: Observation) -> bool:
        return bool(each.local[name].count_nonzero() >= FEW)

    if _some(seen):
        return seen, others
    larger = [o for o in others if _tells(o, name) and o.given.keys() == seen.given.keys()]
    best = next((o for o in larger if _some(o) and o.local[name].numel() <= MANY), seen)
    return best, [o for o in (seen, *others) if o is not best]


def _repaired(
    row: Row,
    seen: Observation,
    others: list[Observation],
    smaller: list[Observation],
    searcher: Searcher,
    like: dict[str, str],
    seconds: float,
    pairs: bool = True,
) -> Row | None:
    """The row with an edit of the source that makes its step right in every observation; None where there is none.

    Without `pairs`, one edit has to do.
    """
    until = time.monotonic() + seconds
    telling = [other for other in others if _tells(other, row.name)]
    found = searcher.repairs(seen, telling[:2], row.name, list(like.values()), 0.75 * seconds, smaller=smaller)
    log.debug("%s: %d found, %d tried %s", row.name, len(found), searcher.tried, searcher.why)
    mends = [searcher.mends(which, [seen, *telling][:OBSERVED]) for which in range(len(found))]

    def _rank(each: tuple[int, dict[str, Any]]) -> tuple[bool, int, bool]:
        """What holds at any size first; then what mends more: a loop makes its mistake in each round. Names then."""
        return not each[1]["general"], -len(mends[each[0]]), each[1]["cause"] == "unknown"

    ranked = sorted(enumerate(found), key=_rank)
    for which, repair in ranked:
        if time.monotonic() > until:
            break  # a repair that is not verified is none
        if repair["pair"] and not pairs:
            continue
        if searcher.harmless(which, row.name, seen) and all(searcher.holds(which, row.name, o) for o in others):
            searcher.mended = mends[which]
            like[row.name] = repair["key"]
            better = lower_precision([seen, *others], row.name)
            if better is None and repair["cause"] != "wrong_index":
                better = exchanged([seen, *others], row.name)
            doubtful = repair["cause"] in IN_DOUBT and not _tests(repair)
            if better is None and doubtful:
                better = nearly([seen, *others], row.name)
            if better is None and (repair["pair"] or doubtful):
                better = forgotten_path([seen, *others], row.name)
            if better is None and (repair["pair"] or repair["cause"] == "unknown"):
                better = unfinished([seen, *others], row.name)
            if better is None and repair["cause"] == "unknown":
                better = identify([seen, *others], row.name, max(until, time.monotonic() + AT_LEAST))
            if repair["cause"] in ("missing_l2", "wrong_l2"):
                repair["cause"] = of_the_penalty([seen, *others], row.name) or repair["cause"]
            if better is not None:
                repair |= {"cause": better.cause, "says": better.says, "diz": ""}
            return mended(row, repair)
    return None


def _tests(repair: dict[str, Any]) -> bool:
    """Whether a repair changes what an `if` asks: an exception that is none."""
    return repair["cause"] == "special_case" and all(line[2].startswith("if ") for line in repair["lines"])


def _tells(seen: Observation, name: str) -> bool:
    """Whether a step is wrong here in numbers that can be compared."""
    if name not in seen.local:
        return False
    given = seen.given.get(name)
    return given is None or (bool(torch.isfinite(given).all()) and not seen.alike(given, seen.local[name]))
