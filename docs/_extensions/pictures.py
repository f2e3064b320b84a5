"""For sphinx-gallery: the order of the tutorials, and simdrop's figures, which are drawn without pyplot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: from the first steps on
ORDER = (
    "first_comparison",
    "own_data",
    "pytorch_weights",
    "condensation",
    "order_certificate",
    "cluster_sweep",
    "lesson",
)


def first_steps_first(name: str) -> int:
    """The place of a tutorial."""
    return ORDER.index(Path(name).stem)


def scraper(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the figures of simdrop that a block left in variables, each once."""
    from sphinx_gallery.scrapers import figure_rst

    from simdrop.output.picture import Figure

    names, shown = [], block_vars["example_globals"].setdefault("__shown__", set())
    for value in list(block_vars["example_globals"].values()):
        if isinstance(value, Figure) and id(value) not in shown:
            shown.add(id(value))
            names.append(str(next(block_vars["image_path_iterator"])))
            value.savefig(names[-1])
    return figure_rst(names, gallery_conf["src_dir"]) if names else ""


def setup(app: Any) -> dict[str, bool]:
    """Nothing to register: sphinx-gallery calls both by their names."""
    return {"parallel_read_safe": True}
