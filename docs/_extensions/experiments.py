"""The page of experiments, made from the list of simdrop.reproduce and from the results in docs/experiments."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simdrop.output.numbers import plus_minus
from simdrop.reproduce import Experiment, experiments

DOCS = Path(__file__).resolve().parents[1]


def page() -> Iterator[str]:
    """The lines of the page, in MyST."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in DOCS.glob("experiments/*.json")}
    every = experiments()
    yield "| experiment | source | minutes | with `--full` | rules that hold |"
    yield "|---|---|---:|---:|---|"
    for name, one in every.items():
        minutes = f"{one.minutes:g} | {one.full_minutes:g}"
        yield f"| [{name}](#{name}) | {one.source} | {minutes} | {_score(found.get(name))} |"
    for name, one in every.items():
        yield from _section(one, found.get(name))


def _score(summary: dict[str, Any] | None) -> str:
    """How many of the rules held, in words."""
    if summary is None:
        return "not run for this page"
    judged = [row["verdict"] for row in summary["rows"] if row["verdict"] != "no claim"]
    known = judged.count("does not reproduce")
    return f"{judged.count('pass')} of {len(judged)}" + (f", {known} known not to" if known else "")


def _section(one: Experiment, summary: dict[str, Any] | None) -> Iterator[str]:
    """What an experiment shows, its figure, and its numbers next to the published ones."""
    yield f"\n## {one.name}\n"
    yield f"{one.shows[0].upper()}{one.shows[1:]} ({one.source}).\n"
    yield f"```bash\nsimdrop reproduce {one.name}\n```\n"
    yield f"Panels: {', '.join(f'`{name}`' for name in one.panels)}.\n"
    if summary is None:
        yield "It was not run for this page: the command writes the figure and the numbers."
        return
    yield f"![{one.shows}](experiments/{one.name}.png)\n"
    yield "| quantity | published | here | rule |"
    yield "|---|---|---|---|"
    for row in summary["rows"]:
        rule = f"{row['verdict']}: {row['rule']}" if row["rule"] else ""
        reason = f" ({row['reason']})" if row["verdict"] == "does not reproduce" else ""
        yield f"| {_plain(row['quantity'])} | {_plain(row['published'])} | {_ours(row)} | {_plain(rule + reason)} |"
    yield ""
    yield from (f"- {_plain(note)}" for note in summary["notes"])
    yield f"\nRun on {summary['day']}: {summary['machine']['processor']}, {summary['machine']['cores']} cores.\n"


def _ours(row: dict[str, Any]) -> str:
    """A number with its standard error over seeds."""
    ours, error = (math.nan if row[name] is None else row[name] for name in ("ours", "error"))
    known = math.isfinite(error) and error > 0
    return f"{plus_minus(ours, error) if known else f'{ours:.4g}'} {row['unit']}".rstrip()


def _plain(text: str) -> str:
    """A text whose signs are no marks of MyST."""
    for sign in "\\|*_$<>[]":
        text = text.replace(sign, f"\\{sign}")
    return text


def _write(app: Any) -> None:
    target = DOCS / "generated" / "experiments.md"
    target.parent.mkdir(exist_ok=True)
    text = "\n".join(page()) + "\n"
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Write the page before Sphinx looks for pages."""
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True}
