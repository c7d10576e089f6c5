"""`pocketface doctor`: the self-test, told to a person or a program."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from pocketface.doctor import Check, Report, examine
from pocketface.errors import InputError

_DAY = 86_400.0
_MARKS = {True: "ok  ", False: "FAIL", None: "--  "}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "doctor",
        help="test every engine, graph and thread setting on this machine",
        description="Runs each engine and graph on a known face, each in its own process; 2 on failure.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds a check may take (60)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the self-test; 0 when all is well, 2 otherwise."""
    if not 0 < args.timeout <= _DAY:
        raise InputError(f"--timeout is seconds, more than 0 and a day at most, not {args.timeout}")
    report = examine(args.timeout)
    if args.json:
        print(json.dumps({"ok": report.ok, **asdict(report)}, indent=2))
    else:
        _print(report)
    return 0 if report.ok else 2


def _print(report: Report) -> None:
    for name, value in report.system.items():
        print(f"{name:<11} {value}")
    for note in report.notes:
        print(f"note        {note}")
    width = max(len(check.what) for check in report.checks)
    for check in report.checks:
        print(f"{_MARKS[check.ok]}  {check.what:<{width}}  {check.message}")
    for name, choice in report.tuned.items():
        print(f"tuned       {name}: {choice.file}, {choice.threads} threads, {choice.measured}")
    if not report.tuned:
        print("tuned       nothing yet; 'pocketface bench --tune' finds the fastest form for this device")
    print(_verdict(report))


def _verdict(report: Report) -> str:
    failed: list[Check] = [check for check in report.checks if check.ok is False]
    if failed:
        return f"{len(failed)} of {len(report.checks)} checks failed"
    return "all is well" if report.ok else "no engine with a graph works here"
