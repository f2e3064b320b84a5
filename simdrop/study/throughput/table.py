"""The table that `simdrop bench` prints."""

from __future__ import annotations

from typing import Any

from ...checks.words import counted


def table(found: dict[str, Any]) -> str:
    """The rows of a benchmark as text, one line for each point and backend."""
    lines = ["10^9 neuron-sample updates per second: median (least ... largest); share of the roofline", ""]
    axis = None
    for row in found["rows"]:
        if row["axis"] != axis:
            axis = row["axis"]
            lines += ["", f"over {axis}"] if len(lines) > 2 else [f"over {axis}"]
        rates = [row[name] / 1e9 for name in ("updates_per_second", "least", "largest")]
        share = f"{100 * row['roofline_share']:4.0f} %" if row["roofline_share"] else ""
        what = f"{axis} {row[axis]}, {row['mask']} masks, {row['dtype']}"
        lines.append(f"  {row['backend']:<8}{what:<44}{rates[0]:8.3f} ({rates[1]:.3f} ... {rates[2]:.3f})  {share}")
    peaks = [
        f"{p['multiply_adds'] / 1e9:.0f} ({p['dtype']}, {counted(p['threads'], 'thread')})" for p in found["roofline"]
    ]
    lines += ["", f"roofline, 10^9 multiply-adds per second: {', '.join(peaks)}"]
    lines += [
        f"left out for want of memory: {row['backend']}, {row['axis']} {row[row['axis']]}" for row in found["left_out"]
    ]
    return "\n".join(lines)
