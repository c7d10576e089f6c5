"""The report of `pocketface bench` as one HTML file: no script, no other file, plots as inline SVG."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from pocketface.bench import text

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
       color: #1c2430; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: right; border-bottom: 1px solid #dde3ea }
th:first-child, td:first-child { text-align: left }
pre { background: #f4f6f8; padding: 1rem; overflow-x: auto; font-size: 13px }
.note { color: #9a4a00 }
svg text { font: 12px system-ui, sans-serif; fill: #1c2430 }
"""
_COLOURS = ("#2f6fb3", "#3f9c7a", "#b3782f", "#8a5fb0")


def render(report: dict[str, Any]) -> str:
    """A page."""
    machine = report["machine"]
    name = escape(str(machine["board"] or machine["cpu"]))
    parts = [f"<h1>pocketface on {name}</h1>"]
    parts += [f'<p class="note">{escape(note)}</p>' for note in report["notes"]]
    if rows := report.get("steps"):
        single = [row for row in rows if row["threads"] == 1 and row["batch"] == 1]
        parts += [
            "<h2>One thread</h2><p>Median in milliseconds; the thin line reaches to p99.</p>",
            _bars(single),
        ]
        counts = sorted({row["threads"] for row in rows})
        if len(counts) > 1:
            parts += ["<h2>Threads</h2>", _lines(rows, counts)]
        parts += ["<h2>All measurements</h2>", _table(rows, ("step", "threads", "batch"))]
    if forms := [row for row in report.get("forms", ()) if "p50" in row]:
        parts += ["<h2>Forms of the embedder</h2>", _table(forms, ("file", "threads"))]
    parts += [
        f"<h2>Device and summary</h2><pre>{escape(text.render(report))}</pre>",
        f"<h2>As JSON</h2><details><summary>show</summary><pre>{_json(report)}</pre></details>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>pocketface on {name}</title><style>{_STYLE}</style></head>\n<body>"
        + "\n".join(parts)
        + "</body></html>\n"
    )


def _bars(rows: list[dict[str, Any]]) -> str:
    top = max(row["p99"] for row in rows)
    left, width, step = 190, 480, 30
    shapes = []
    for i, row in enumerate(rows):
        y = i * step + 6
        bar, tail = (max(1.0, width * row[key] / top) for key in ("p50", "p99"))
        shapes += [
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(row["step"])}</text>',
            f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="18" fill="{_COLOURS[0]}"/>',
            f'<path d="M {left + bar:.1f} {y + 9} H {left + tail:.1f}" stroke="#1c2430"/>',
            f'<text x="{left + tail + 6:.1f}" y="{y + 14}">{row["p50"]:.2f}</text>',
        ]
    return _svg(left + width + 60, len(rows) * step + 10, shapes)


def _lines(rows: list[dict[str, Any]], counts: list[int]) -> str:
    series = {
        step: [(row["threads"], row["p50"]) for row in rows if row["step"] == step and row["batch"] == 1]
        for step in dict.fromkeys(row["step"] for row in rows)
    }
    series = {step: points for step, points in series.items() if len(points) > 1}
    top = max(value for points in series.values() for _, value in points)
    left, width, height = 60, 420, 220
    shapes = [
        f'<line x1="{left}" x2="{left + width}" y1="{height + 10}" y2="{height + 10}" stroke="#8894a3"/>',
        f'<text x="{left - 8}" y="20" text-anchor="end">{top:.0f} ms</text>',
        f'<text x="{left - 8}" y="{height + 14}" text-anchor="end">0</text>',
    ]

    def place(count: int, value: float) -> tuple[float, float]:
        across = counts.index(count) / (len(counts) - 1)
        return left + 20 + across * (width - 40), 10 + height * (1 - value / top)

    for i, (step, points) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        spots = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        shapes += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        shapes.append(
            f'<text x="{left + width + 8}" y="{24 + 18 * i}" style="fill:{colour}">{escape(step)}</text>'
        )
    for count in counts:
        x, _ = place(count, 0)
        shapes.append(f'<text x="{x:.1f}" y="{height + 28}" text-anchor="middle">{count}</text>')
    return _svg(left + width + 190, height + 40, shapes)


def _table(rows: list[dict[str, Any]], labels: tuple[str, ...]) -> str:
    head = "".join(f"<th>{name}</th>" for name in (*labels, "p50 ms", "p95 ms", "p99 ms", "CPU ms", "calls"))
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(str(row[label]))}</td>" for label in labels)
        + "".join(f"<td>{row[key]:.2f}</td>" for key in ("p50", "p95", "p99", "cpu"))
        + f"<td>{row['calls']}</td></tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _json(report: dict[str, Any]) -> str:
    return escape(json.dumps(report, indent=1))


def _svg(width: float, height: float, shapes: list[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" width="100%" role="img">' + "".join(shapes) + "</svg>"
