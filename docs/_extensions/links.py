"""Every link within the built site leads to a file, and to a place in it, that is there; else the build fails."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places of a page that links can name, and its links to files next to it."""

    def __init__(self) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the tag names and what it links to."""
        held = {name: value for name, value in attrs if value is not None}
        self.places |= {held[name] for name in ("id", "name") if name in held}
        for link in (held[name] for name in ("href", "src") if name in held):
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc:
                self.links.add(link)


@cache
def read(path: Path) -> Page:
    """A page, read once."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def broken(site: Path) -> list[str]:
    """The links that lead nowhere, with the page that has them."""
    found = []
    pages = (path for path in sorted(site.rglob("*.html")) if "_static" not in path.relative_to(site).parts)
    for path in pages:  # what the theme brings along are templates
        for link in sorted(read(path).links):
            parts = urlsplit(link)
            target = (path.parent / unquote(parts.path)) if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            there = target.exists() and (
                not place or target.suffix != ".html" or place in read(target.resolve()).places
            )
            if not there and link != "#":
                found.append(f"{path.relative_to(site)}: {link}")
    return found


def _check(app: Any, error: Exception | None) -> None:
    from sphinx.errors import SphinxError

    if error is None and app.builder.name == "html" and (wrong := broken(Path(app.outdir))):
        raise SphinxError("links that lead nowhere:\n" + "\n".join(wrong))


def setup(app: Any) -> dict[str, bool]:
    """Check when all pages are written."""
    app.connect("build-finished", _check, priority=900)
    return {"parallel_read_safe": True}
