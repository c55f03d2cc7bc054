"""Write what was measured as Markdown: the ratios, then the numbers that they come from. No number is typed by hand."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.plan import BASE, POOL, POSTS, QUERY, RESEND
from benchmarks.scenario import IN_FLIGHT, PAGE_SIZE
from benchmarks.targets import ratio, targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.targets import Found

MARK = "<!-- measured -->"
_COLUMNS = ("time", "messages/s", "over the pool", "processor", "memory", "XCom", "requests", "connections", "logins")

_DEFERRED = (
    "longest gap",
    "without the collector",
    "while loading",
    "polls",
    "processor per poll",
    "memory per trigger",
    "topic lists",
    "connections at once",
    "left open",
    "logins",
)
_TRIGGERERS = (
    "trigger",
    "sensors",
    "watchers",
    "longest gap while it starts",
    "longest gap afterwards",
    "polls",
    "processor per poll",
    "memory",
    "topic lists",
    "connections at once",
    "left open",
    "logins",
)
_COUNTED = ("topic_lists", "max_open", "left_open", "logins")


def page(found: Found) -> str:
    """Return the generated part of the page."""
    parts = [
        "## Targets",
        table(["work", "target", "measured", "met"], [target.row(found) for target in targets(found)]),
        partition(found),
        "## Query",
        comparison(found["query"], POOL),
        "## Resend",
        comparison(found["resend"], POSTS),
        "## Services that behave differently",
        cases(found["cases"]),
        "## Growth",
        knee(found),
        *(curve(name, points) for name, points in found["curves"].items()),
        "## DAG file",
        table(
            ["file", "processor seconds to load it"],
            [[name, f"{median(seconds):.3f}"] for name, seconds in found["startup"].items()],
        ),
        "## Deferred sensors",
        deferred(found["deferred"]),
        "### Under the program `airflow triggerer`",
        triggerers(found["triggerer"]),
        "## Machine and service",
        table(["", ""], [[f"{name}", value] for name, value in found["machine"].items()]),
        service(found),
    ]
    return "\n\n".join(parts)


def write(path: Path, text: str) -> None:
    """Replace the generated part of a page, which follows the mark."""
    head = path.read_text().partition(MARK)[0]
    path.write_text(f"{head}{MARK}\n{text}\n")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def partition(found: Found) -> str:
    """Return a sentence on what each partition adds to the XCom, because the target is for one number of them."""
    (few, least), (many, most) = ((int(number), size) for number, size in found["xcom"].items())
    each = (most - least) / (many - few)
    return (
        f"Each partition adds {each:.0f} bytes to the XCom if its offsets are contiguous; "
        "[sizing](sizing.md) shows the sizes with gaps."
    )


def deferred(group: Mapping[str, Sequence[Found]]) -> str:
    """Return the table of the deferred sensors: medians of times and memory, maxima of counts."""
    rows = [[name, *deferred_row(results)] for name, results in group.items()]
    return table(["trigger", "sensors", "watchers", *_DEFERRED], rows)


def triggerers(group: Mapping[str, Found]) -> str:
    """Return the table of the triggerers: one measurement each."""
    return table(_TRIGGERERS, [[name, *triggerer_row(found)] for name, found in group.items()])


def triggerer_row(found: Found) -> list[str]:
    """Return the cells of a triggerer."""
    polls = found["polls"]
    return [
        f"{found['sensors']:,}",
        f"{found['watchers']}",
        f"{1000 * found['starting_s']:.0f} ms",
        f"{1000 * found['longest_s']:.0f} ms",
        f"{polls:,}",
        f"{1e6 * found['cpu_s'] / polls:.0f} µs" if polls else "",
        f"{found['memory'] / 2**20:.0f} MiB",
        *(f"{found[field]}" for field in _COUNTED),
    ]


def deferred_row(results: Sequence[Found]) -> list[str]:
    """Return the cells of a kind of trigger."""

    def middle(field: str, times: float = 1.0, over: str = "") -> float:
        return times * float(median(result[field] / (result[over] if over else 1) for result in results))

    sensors, watchers = results[0]["sensors"], results[0]["watchers"]
    polls = min(result["polls"] for result in results)
    return [
        f"{sensors:,}",
        f"{watchers:,}",
        f"{middle('longest_s', 1000):.0f} ms",
        f"{middle('own_s', 1000):.0f} ms",
        f"{middle('loading_s', 1000):.0f} ms",
        f"{polls:,}",
        f"{middle('cpu_s', 1e6, 'polls'):.0f} µs" if polls else "",
        f"{middle('memory', 1 / 1024) / (sensors + watchers):.0f} KiB",
        *(f"{max(result[field] for result in results):.0f}" for field in _COUNTED),
    ]


def comparison(group: Found, baseline: str) -> str:
    """Return the table of a comparison: medians over the rounds."""
    rows = [[name, f"{one['messages']:,}", *comparison_row(group, name, baseline)] for name, one in group.items()]
    return table(["who", "messages", *_COLUMNS], rows)


def comparison_row(group: Found, name: str, baseline: str) -> list[str]:
    """Return the cells of a contestant."""
    messages, results = group[name]["messages"], group[name]["results"]

    def middle(field: str) -> float:
        return float(median(result[field] for result in results))

    return [
        f"{middle('wall_s'):.2f} s",
        f"{messages / middle('wall_s'):,.0f}",
        f"{ratio(group, name, baseline):.2f} ×",
        f"{1e6 * middle('cpu_s') / middle('requests'):.0f} µs per request",
        f"{middle('memory') / 2**20:.1f} MiB",
        f"{middle('xcom'):,.0f} B" if middle("xcom") else "",
        f"{middle('requests'):,.0f}",
        f"{middle('connections'):.0f}",
        f"{middle('logins'):.0f}",
    ]


def cases(group: Found) -> str:
    """Return the table of the services that differ from the plain one."""
    rows = []
    for name, one in group.items():
        if name == POOL:
            continue
        pages = -(-one["messages"] // PAGE_SIZE)
        requests = median(result["requests"] for result in one["results"])
        cells = f"{ratio(group, name, POOL):.2f} ×", f"{requests / pages:.2f} ×", f"{requests:.0f}"
        rows.append([name, f"{one['messages']:,}", *cells])
    return table(["service", "messages", "time, over the pool", "requests, over pages", "requests"], rows)


def curve(name: str, points: Sequence[Any]) -> str:
    """Return the heading and the table of a curve."""
    work, _, what = name.partition(" ")
    columns = ["time", "over theory", "bare, over theory", "over bare", "processor", "over the formula"]
    if what == "messages":
        rows = [[f"{point['messages']:,}", *growth(point)] for point in points]
        return f"### {work.capitalize()} by messages\n\n{table(['messages', *columns], rows)}"
    rows = [[f"{point['value']:,}", f"{point['messages']:,}", *growth(point)] for point in points]
    heads = ["latency in ms" if what == "latency" else what, "messages", *columns]
    return f"### {work.capitalize()} by {what}\n\n{table(heads, rows)}"


def growth(point: Found) -> list[str]:
    """Compare a point of a curve with the theory, the bare pool and the formula of the page, and return the cells."""
    ours, bare, theory, busy = (
        point["ours"]["wall_s"],
        point["bare"]["wall_s"],
        point["theory_s"],
        point["ours"]["cpu_s"],
    )
    ratios = (ours / theory, bare / theory, ours / bare)
    return [
        f"{ours:.2f} s",
        *(f"{value:.2f} ×" for value in ratios),
        f"{busy / ours:.0%}",
        f"{ours / max(theory, busy):.2f} ×",
    ]


def knee(found: Found) -> str:
    """Return a paragraph on where one process becomes the limit, in numbers of this machine."""
    costs = [processor_s(found["query"], QUERY), processor_s(found["resend"], RESEND)]
    latency_s = BASE.latency_ms / 1000
    page, resend = (f"{1e6 * cost:.0f} µs" for cost in costs)
    edges = " and ".join(f"{latency_s / cost:.0f}" for cost in costs)
    lows = " and ".join(f"{1000 * IN_FLIGHT * cost:.1f} ms" for cost in costs)
    return (
        f"On this machine a page took {page} of processor time, a resend {resend}. So the knee lies at {edges} "
        f"requests in flight with {BASE.latency_ms:g} ms a request, and at {lows} a request with {IN_FLIGHT} in flight."
    )


def processor_s(group: Found, name: str) -> float:
    """Return the processor seconds of one request of a contestant: the median over the rounds."""
    return float(median(result["cpu_s"] / result["requests"] for result in group[name]["results"]))


def service(found: Found) -> str:
    """Return a paragraph on how much of the service's capacity the contestants needed."""
    capacity = found["capacity"]
    shares = [
        result["busy"] for work in ("query", "resend") for one in found[work].values() for result in one["results"]
    ]
    return (
        f"When one process asked as fast as it could, the service served {capacity['pages']:,.0f} pages a second and "
        f"was busy {capacity['busy']:.0%} of the time. In the comparisons above it was idle at least "
        f"{1 - max(shares):.0%} of the time, so it never held the contestants up."
    )
