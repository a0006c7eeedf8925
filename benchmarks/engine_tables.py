"""The results as a table in Markdown and as a figure."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

OURS = "manualbp "
ROUND = 3


def table(found: dict[str, Any]) -> str:
    """One line a contestant and point: median, quartiles, ratio to the best peer; then one line a point."""
    machine, versions = found["machine"], found["versions"]
    text = [
        "# Time of one training step",
        "",
        f"{machine.get('gpu') or machine['cpu']}, {machine['cores']} cores, {machine['platform']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        "Microseconds a step, median [quartiles] of rounds in which all ran in turns; sigmoid layers, float32, SGD,",
        "L2. `python -m benchmarks.engines` makes this page.",
        "",
    ]
    if found.get("note"):
        text += [found["note"], ""]
    text += [
        "| network @ batch | auto | auto took | best peer | times as fast | as eager | share of the limit |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, point in found["points"].items():
        text.append(f"| {' | '.join(summary(key, point))} |")
    for key, point in found["points"].items():
        text += [
            "",
            f"## {key}",
            "",
            f"Clock: {point['clock']}.",
            "",
            "| | us a step | first step, s |",
            "|---|---|---|",
        ]
        for name, values in sorted(point[point["clock"]].items(), key=lambda item: statistics.median(item[1])):
            text.append(f"| {name} | {spread(values)} | {point['first_step_seconds'][name]:.2f} |")
        text += [f"| {name} | not timed: {why} | |" for name, why in point["failed"].items()]
        if point.get("limit"):
            limit = point["limit"]
            text.append(f"| *limit: {'products' if limit['products'] >= limit['bytes'] else 'bytes'}* | "
                        f"{number(max(limit['products'], limit['bytes']))} | |")  # fmt: skip
    return "\n".join(text) + "\n"


def medians(point: dict[str, Any]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in point[point["clock"]].items()}


def summary(key: str, point: dict[str, Any]) -> list[str]:
    of = medians(point)
    auto = of.get(OURS + "auto", float("nan"))
    peers = {name: value for name, value in of.items() if not name.startswith(OURS)}
    best = min(peers, key=lambda name: peers[name])
    eager = min(value for name, value in peers.items() if name.startswith("torch eager"))
    limit = point.get("limit")
    wide = limit and max(point["widths"]) >= 512
    share = max(limit["products"], limit["bytes"]) / auto if wide else None
    return [
        key,
        number(auto),
        point["notes"].get(OURS + "auto", "").partition(":")[0],
        f"{best} {number(peers[best])}",
        f"{peers[best] / auto:.2f}",
        f"{eager / auto:.1f}",
        f"{share:.2f}" if share else "",
    ]


def spread(values: list[float]) -> str:
    if len(values) < ROUND:
        return number(statistics.median(values))
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{number(middle)} [{number(low)}-{number(high)}]"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def figure(found: dict[str, Any], path: Path) -> None:
    """Time of each contestant relative to the best peer, a column a point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    points = found["points"]
    if not points:
        return
    names = list(dict.fromkeys(name for point in points.values() for name in medians(point)))
    drawing, axes = plt.subplots(figsize=(1.2 * len(points) + 3, 5), layout="constrained")
    for name in names:
        ys = []
        for point in points.values():
            of = medians(point)
            best = min(value for other, value in of.items() if not other.startswith(OURS))
            ys.append(of[name] / best if name in of else float("nan"))
        ours = name.startswith(OURS)
        axes.plot(range(len(points)), ys, "o" if ours else "x", ms=9 if ours else 6, label=name, alpha=0.8)
    axes.axhline(1.0, color="grey", lw=0.8)
    axes.set_yscale("log")
    axes.set_ylabel("time of a step, best peer = 1")
    axes.set_xticks(
        range(len(points)), [key.replace(", ", "\n") for key in points], rotation=45, ha="right", fontsize=7
    )
    axes.legend(fontsize=7, ncols=2)
    drawing.savefig(path, dpi=120)
    plt.close(drawing)
