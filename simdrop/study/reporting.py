"""A study as a report: what came out in sentences, and how it is made again, from its summary alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..checks.words import counted
from ..output.numbers import short
from ..output.report import Report, papers_of, tables_of
from .predictions import PREDICTIONS

Summary = Mapping[str, Any]


def report_of(
    study: str, summary: Summary, table: str, pictures: Mapping[str, str], settings: str = "", name: str = ""
) -> Report:
    """The report of a study from its summary, its table as text and its figures in a page's form.

    settings: the content of the settings.toml of a command; name: of the summary, where a folder has two
    """
    heat_map = name == "heat-map"
    kinds = _of_heat_map if heat_map else _VERDICTS.get(study, lambda summary: summary.get("verdict", ()))
    verdict = list(kinds(summary))
    lines = [line for line in table.splitlines() if line.removeprefix("- ") not in verdict]  # said once
    return Report(
        title=_title(study, summary) if not heat_map else "simdrop order: errors over learning rate and keep_prob",
        created=str(summary.get("created", "")),
        verdict=verdict,
        table="\n".join(lines).rstrip(),
        pictures=pictures,
        tables=tables_of(summary),
        repeat=_repeat(study, summary, settings),
        cite=papers_of(_kinds_of(summary)),
    )


def _title(study: str, summary: Summary) -> str:
    if study == "compare":
        run, problem = summary["simulation"], summary["problem"]
        networks = f"{run['members']} networks of {counted(problem['width'], problem['activation'] + ' neuron')}"
        return f"simdrop compare: {networks}, keep_prob {problem['keep_prob']:g}, learning rate {short(run['lr'])}"
    if study == "order":
        settings = summary["settings"]
        return f"simdrop order: {settings['members']} networks at each learning rate, t = {settings['time']:g}"
    if study == "reproduce":
        return f"simdrop reproduce {summary['experiment']}: {summary['shows']}"
    return f"simdrop {study}"


def _of_order(summary: Summary) -> list[str]:
    """What is known of the order of each prediction's error in the mean parameters."""
    words = {"yes": "is consistent with that", "no": "contradicts it", "not resolved": "does not decide it"}
    sentences = []
    for name, rows in summary["kinds"].items():
        one, row = PREDICTIONS.get(name), rows["parameters"]
        slope = "no slope could be measured"
        if row["slope"] is not None:
            low, high = row["slope_interval_95"]
            slope = f"the measured slope is {row['slope']:.2f} ({low:.2f} to {high:.2f})"
        if one is None or not one.order:
            sentences.append(f"{name} claims no order in the mean parameters; {slope}.")
            continue
        judged = words.get(str(row["consistent"]), str(row["consistent"]))
        sentences.append(
            f"{one.title} claims order {one.order} in the mean parameters: {slope}; what is left {judged}."
        )
    return sentences


def _of_experiment(summary: Summary) -> list[str]:
    """How many rules hold, which do not, and the notes."""
    judged = [row for row in summary["rows"] if row["verdict"] != "no claim"]
    failed = [row for row in judged if row["verdict"] == "FAIL"]
    sentences = [f"{len(judged) - len(failed)} of {counted(len(judged), 'rule')} hold."]
    sentences += [f"Does not hold: {row['quantity']}: {row['rule']}." for row in failed]
    if summary.get("interrupted"):
        sentences.append(f"It was interrupted: {summary.get('reason', '')}")
    return [*sentences, *summary.get("notes", ())]


def _of_benchmark(summary: Summary) -> list[str]:
    rows = summary["rows"]
    if not rows:
        return []
    best = max(rows, key=lambda row: float(row["updates_per_second"]))
    rate = best["updates_per_second"] / 1e9
    where = f"{best['axis']} {best[best['axis']]}, {best['mask']} masks, {best['dtype']}"
    return [f"The fastest is {best['backend']}: {rate:.3g} · 10⁹ neuron·sample updates per second at {where}."]


def _of_heat_map(summary: Summary) -> list[str]:
    return [
        f"{name} is close to the mean parameters in {row['close']} of {row['cells']} cells ({summary['rule']})."
        for name, row in summary["kinds"].items()
    ]


_VERDICTS: dict[str, Callable[[Summary], Any]] = {
    "order": _of_order, "reproduce": _of_experiment, "bench": _of_benchmark,
}  # fmt: skip


def _kinds_of(summary: Summary) -> list[str]:
    """The predictions that a study is about."""
    if "quantities" in summary:
        return list(summary["quantities"]["parameters"]["flows"])
    kinds = summary.get("kinds", ())
    if "SME" in str(summary.get("source", "")):
        return ["sme1"]
    return list(kinds)


def _repeat(study: str, summary: Summary, settings: str) -> list[str]:
    """Commands that make the result again."""
    if study == "reproduce":
        full = " --full" if summary["full"] else ""
        seeds = f" --seeds {summary['seeds']}" if summary["seeds"] else ""
        return [f"simdrop reproduce {summary['experiment']}{full}{seeds} --out again"]
    if study == "bench":
        return [f"simdrop bench{' --full' if summary['settings']['full'] else ''} --out again"]
    if study == "sweep":
        return ["simdrop sweep FILE.toml, with the tables that are in sweep.json of the folder"]
    if settings:
        return [f"simdrop {study} --config settings.toml --out again", settings]
    seed = summary.get("simulation", summary.get("settings", {})).get("seed", 0)
    return [f"It was made in Python, by simdrop's {study}() with the settings below and seed {seed}."]
