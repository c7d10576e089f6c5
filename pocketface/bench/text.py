"""The report of `pocketface bench` as text."""

from __future__ import annotations

from typing import Any


def render(report: dict[str, Any]) -> str:
    """Lines for a terminal."""
    machine, before, after = report["machine"], report["before"], report["after"]
    lines = [
        f"{machine['board'] or machine['cpu']}  {' '.join(machine['cores'])}".rstrip(),
        f"{machine['usable_cpus']} usable CPUs, {machine['memory_mb']} MB, {machine['system']}, "
        f"Python {machine['python']}",
        "features: " + (", ".join(machine["features"].values()) or "none of interest"),
        "packages: " + ", ".join(f"{name} {version}" for name, version in machine["packages"].items()),
        f"detector {report['detector']}, embedder {report['embedder']}, picture {report['picture']}",
        f"before: {_state(before)}",
        f"after:  {_state(after)}",
        "",
    ]
    if cold := report.get("cold"):
        peak = "" if cold["peak_mb"] is None else f", peak memory {cold['peak_mb']:.0f} MB"
        lines += [
            f"cold start: first embedding after {cold['first_result_ms']:.0f} ms "
            f"({cold['process_ms']:.0f} ms with the interpreter's start and end){peak}",
            "",
        ]
    if rows := report.get("steps"):
        lines.append(
            f"{'step':<26}{'threads':>8}{'batch':>6}{'p50':>9}{'p95':>9}{'p99':>9}{'CPU':>9}   ms a call"
        )
        lines += [
            f"{row['step']:<26}{row['threads']:>8}{row['batch']:>6}"
            f"{row['p50']:>9.2f}{row['p95']:>9.2f}{row['p99']:>9.2f}{row['cpu']:>9.2f}"
            for row in rows
        ]
    if forms := report.get("forms"):
        lines += ["", f"{'form of the embedder':<40}{'threads':>8}{'p50':>9}{'CPU':>9}   ms"]
        lines += [
            f"{row['file']:<40}{row['threads']:>8}"
            + (f"{row['p50']:>9.2f}{row['cpu']:>9.2f}" if "p50" in row else f"   {row['error']}")
            for row in forms
        ]
    if choice := report.get("choice"):
        lines += [
            "",
            f"tuned: {choice['file']} with {choice['threads']} thread{'s' * (choice['threads'] > 1)}, "
            f"used from now on (stored in {report['stored']})",
        ]
    lines += [f"note: {note}" for note in report["notes"]]
    return "\n".join(lines)


def _state(readings: dict[str, Any]) -> str:
    parts = []
    if readings["mhz"]:
        parts.append("/".join(f"{value:.0f}" for value in readings["mhz"]) + " MHz")
    if readings["governor"]:
        parts.append("governor " + "/".join(dict.fromkeys(readings["governor"])))
    if readings["celsius"] is not None:
        parts.append(f"{readings['celsius']:.0f} °C")
    if readings["throttled"] is not None:
        parts.append(f"throttled 0x{readings['throttled']:x}")
    return ", ".join(parts) or "the system tells neither frequency nor temperature"
