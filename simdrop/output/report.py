"""A result as one HTML file that needs nothing else: what came out, figures, settings, how to repeat and cite it."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = Path(__file__).with_name("report.html.j2")
#: sections of a summary -> their headings in a report
HEADINGS = {
    "problem": "Problem", "data": "Data", "simulation": "Simulation", "settings": "Settings",
    "diverged": "Members lost", "seconds": "Seconds", "versions": "Versions", "machine": "Machine",
}  # fmt: skip
SOFTWARE = f"The simdrop authors: simdrop {__version__}, ensembles of two-layer networks under dropout. "
SOFTWARE += "CITATION.cff of the repository has the entry."
#: whose theory a result uses
PAPERS = {
    "regularization": "Zhang & Xu: Implicit Regularization of Dropout. IEEE TPAMI 46 (2024), arXiv:2207.05952. "
    "R_1, R_2 and the modified gradient flow.",
    "equations": "Zhang, Li, Luo & Xu: Stochastic Modified Equations and Dynamics of Dropout Algorithm. ICLR 2024, "
    "arXiv:2305.15850. The stochastic modified equations, and noise against curvature.",
    "manifold": "Shalova, Schlichting & Peletier: Singular-limit analysis of gradient descent with noise injection. "
    "arXiv:2404.12293. The slow drift along zero loss.",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page says.

    Attributes
    ----------
    title : str
        Its heading.
    created : str
        When the result was made.
    verdict : sequence of str
        Sentences on what came out.
    table : str
        The numbers as the command prints them.
    pictures : mapping from str to str
        Figures by name, as the SVG or the img that stands in the page.
    tables : mapping from str to mapping
        Settings and what else there is, by heading.
    repeat : sequence of str
        Commands or Python that make it again.
    cite : sequence of str
        Works whose theory it uses.
    """

    title: str
    created: str = ""
    verdict: Sequence[str] = ()
    table: str = ""
    pictures: Mapping[str, str] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    repeat: Sequence[str] = ()
    cite: Sequence[str] = ()

    def page(self) -> str:
        """The HTML file as text."""
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup

        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        pictures = {name: Markup(one) for name, one in self.pictures.items()}  # our own figures
        return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
            version=__version__, title=self.title, created=self.created, verdict=self.verdict, table=self.table,
            pictures=pictures, tables=self.tables, repeat=self.repeat, cite=[SOFTWARE, *self.cite],
        )  # fmt: skip


def as_svg(figure: Figure, name: str) -> str:
    """A figure as SVG for a page; `name` keeps the identifiers of two figures apart."""
    import matplotlib

    from .picture import picture

    # texts as text of the page's own fonts would be wider than their places: outlines
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        text = picture(figure, "svg", metadata={"Date": None, "Creator": None}).decode()
    text = text[text.index("<svg") :]
    ids = re.compile(r'(\bid="|xlink:href="#|url\(#)')
    return ids.sub(rf"\g<1>{name}-", text)


def as_image(path: Path, name: str) -> str:
    """A PNG file as an image in a page."""
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def tables_of(summary: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings, versions and machine of a summary, by heading; what is empty is left out."""
    found = {}
    for name, heading in HEADINGS.items():
        rows = summary.get(name)
        if isinstance(rows, Mapping):
            plain = {str(key).replace("_", " "): _in_short(value) for key, value in rows.items() if _told(value)}
            if plain:
                found[heading] = plain
    return found


def _told(value: Any) -> bool:
    return value is not None and not (isinstance(value, (Mapping, list, tuple, str)) and len(value) == 0)


def _in_short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(_in_short(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_in_short(one)}" for key, one in value.items())
    return str(value)


def papers_of(kinds: Sequence[str]) -> list[str]:
    """The works behind predictions."""
    used = ["regularization"]
    used += ["equations"] if any(kind.startswith(("sme", "mean-cov", "pathwise")) for kind in kinds) else []
    used += ["manifold"] if "manifold" in kinds else []
    return [PAPERS[name] for name in used]
