"""Draw the curves in one picture for queries and one for resends: the time, and below it the time over theory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COLOURS = {"ours": "#1a56db", "bare": "#9aa3af"}
_SECONDS = 0.02, 100
_LABELS = {"ours": "this provider", "bare": "bare aiohttp pool"}


def draw(curves: Mapping[str, Sequence[Any]], folder: Path) -> None:
    """Write ``benchmarks-<work>.svg``; the same numbers make the same bytes."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 8, "axes.grid": True})
    mpl.rcParams.update({"grid.alpha": 0.3, "axes.spines.top": False, "axes.spines.right": False})
    for work in dict.fromkeys(name.split(" ")[0] for name in curves):
        mine = {name.split(" ")[1]: points for name, points in curves.items() if name.startswith(work)}
        _picture(work, mine, folder / f"benchmarks-{work}.svg")


def _picture(work: str, curves: Mapping[str, Sequence[Any]], path: Path) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullLocator

    figure, axes = plt.subplots(2, len(curves), figsize=(2.6 * len(curves), 4), sharex="col", squeeze=False)
    for (above, below), (what, points) in zip(axes.T, curves.items(), strict=True):
        for who in _COLOURS:
            _line(above, points, who, 0)
            _line(below, points, who, 1)
        above.set(title=f"{work} by {what}", xscale="log", yscale="log", ylim=_SECONDS)
        below.set(xscale="log", ylim=(0, None), xlabel="latency in ms" if what == "latency" else what)
        for axis in (above.xaxis, above.yaxis, below.xaxis):
            axis.set_minor_locator(NullLocator())  # most of the bytes
    axes[0][0].set_ylabel("seconds")
    axes[1][0].set_ylabel("seconds / theory")
    axes[0][0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _line(axis: Any, points: Sequence[Any], who: str, power: int) -> None:
    values = [point["value"] for point in points]
    times = [point[who]["wall_s"] / point["theory_s"] ** power for point in points]
    axis.plot(values, times, marker="o", markersize=3, color=_COLOURS[who], label=_LABELS[who])
