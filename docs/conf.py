"""Sphinx's settings for the site: `python -m sphinx -W docs site` builds it from the checkout, without a network."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "kernels"), str(ROOT / "docs" / "_extensions")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE = f"{PROJECT['urls']['Source']}/blob/main/"

project = "simdrop"
author = "The simdrop authors"
copyright = author  # Sphinx's name
release = version = PROJECT["version"]

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "experiments",  # of docs/_extensions, as what follows
    "links",
    "pictures",
]
myst_enable_extensions = ["amsmath", "dollarmath", "deflist"]
myst_heading_anchors = 3
myst_dmath_allow_space = False
exclude_patterns = ["_build", "generated/experiments.md", "tutorials"]
html_extra_path = ["../simdrop/output/summary.schema.json"]
math_number_all = False
math_numfig = True
numfig = True

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections have them
autodoc_default_options = {"members": True, "inherited-members": True}
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_exclude = ".linenos, .gp, .go"

#: each tutorial runs when the site is built, in an order from the first steps on
sphinx_gallery_conf = {
    "examples_dirs": "tutorials",
    "gallery_dirs": "generated/tutorials",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "pictures.first_steps_first",
    "image_scrapers": ("matplotlib", "pictures.scraper"),
    "abort_on_example_error": True,
    "ignore_repr_types": "matplotlib|int",  # what the last call on axes, or a file, returns says nothing
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["simdrop.css"]
html_title = f"simdrop {version}"
html_theme_options = {
    "github_url": PROJECT["urls"]["Source"],
    "navigation_with_keys": False,
    "header_links_before_dropdown": 4,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {"**": []}  # the pages stand in the header
html_show_sourcelink = False


def outside(app, name, source):
    """Links to files of the repository that are no page of the site lead to the repository."""
    source[0] = re.sub(r"\]\(\.\./([^)]+)\)", rf"]({SOURCE}\1)", source[0])


def norms(app, what, name, obj, options, lines):
    """In docstrings |x| is a norm; reStructuredText would take it for a substitution."""
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else line.replace("|", r"\|") for line in lines]


def setup(app):
    """Diagrams in Mermaid, which GitHub draws, are shown as text."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("mermaid", TextLexer)
    app.connect("source-read", outside)
    app.connect("autodoc-process-docstring", norms, priority=900)  # after numpydoc
