"""How a run ended, and what that says of its gradients."""

from __future__ import annotations

from dataclasses import dataclass

from compare.check.report import Report
from compare.names import Names
from compare.run.agreement import Agreement
from compare.run.curves import Curves
from compare.run.history import Verdict


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    verdict: Verdict
    text: str
    exit_status: int
    report: Report | None = None


def verdict(agreement: Agreement, names: Names, curves: Curves, steps: int) -> Ending:
    """The verdict on the gradients of all `steps` steps so far."""
    if not agreement.checked:
        return Ending("not checked", "not checked: no gradient was compared", 0)
    at = f"all {steps} steps" if agreement.checked == steps else f"{agreement.checked} of {steps} steps"
    if agreement.exact:
        return Ending("equal bit for bit", f"equal bit for bit: every gradient at {at}, 0 ulp apart", 0)
    if agreement.undecided:
        which = ", ".join(names.parameters.get(path, path) for path in agreement.undecided)
        text = f"undecided: rounding would explain any gradient of {which}; use --dtype float64"
        return Ending("undecided", text, 1)
    relative = max(curves.latest("gap").get("gap/relative worst so far", 0.0), agreement.gap.worst()[1])
    text = f"within the noise floor: every gradient at {at}, at most {relative:.1e} of its RMS apart"
    return Ending("within the noise floor", text, 0)
