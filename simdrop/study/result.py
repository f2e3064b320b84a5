"""What studies return: objects of one family, with a summary, a table, a figure and a folder of files."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from ..checks.numbers import check_flag
from ..output import style
from ..output.storage import save
from ..output.summary import write_summary
from ..problem.display import html

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from ..output.folder import Folder


class Result(ABC):
    """The result of a study.

    Subclasses say what their numbers are, draw them and put them into words; files are written here.

    Attributes
    ----------
    summary : dict
        The study in short: plain numbers and texts, as they are written to a JSON file.
    """

    #: the study, by which a folder with an earlier result of it is known
    study: ClassVar[str]
    #: names of the files of the figure and of the summary
    drawn: ClassVar[str] = "figure"
    described: ClassVar[str] = "summary"
    #: the study in plain numbers and texts
    summary: dict[str, Any]
    #: by which a folder that holds a part of the result already is known
    run_id: str = ""

    def __repr__(self) -> str:
        files = ", ".join(self.files())
        return f"<{type(self).__name__} of simdrop: .table(), .figure(), .summary, .save(DIR) to {files}>"

    def _repr_html_(self) -> str:
        """The table, for notebooks; `.figure()` is a picture there."""
        return html(f"simdrop {type(self).__name__}", {}, [self.table()])

    @abstractmethod
    def table(self) -> str:
        """The summary as text."""

    @abstractmethod
    def figure(self) -> Figure:
        """The figure, drawn without pyplot."""

    @abstractmethod
    def datasets(self) -> dict[str, xr.Dataset]:
        """All numbers, by the names of the Zarr stores that they are written to."""

    def files(self) -> tuple[str, ...]:
        """The names of all files that `write` writes."""
        figures = (*(f"{self.drawn}.{form}" for form in style.FORMATS), self._report_file)
        return (f"{self.described}.json", *(f"{name}.zarr" for name in self.datasets()), *figures)

    @property
    def _report_file(self) -> str:
        return "report.html" if self.described == "summary" else f"{self.described}.html"

    def write(self, folder: Folder, *, settings: str = "") -> None:
        """Write the summary, the stores, the figure and the report into an open folder.

        Parameters
        ----------
        folder : Folder
            An open folder, as `simdrop.output.folder.opened` gives it.
        settings : str
            The settings of a command, as TOML, for the report.
        """
        name = self.study if self.described == "summary" else self.described
        folder.write(f"{self.described}.json", partial(write_summary, name, self.summary))
        for name, dataset in self.datasets().items():
            folder.write(f"{name}.zarr", partial(save, dataset))
        figure = self.figure()
        for form in style.FORMATS:
            folder.write(f"{self.drawn}.{form}", partial(style.save, figure))
        page = self._page(figure, settings)
        folder.write(self._report_file, lambda path: path.write_text(page, encoding="utf-8"))

    def _page(self, figure: Figure, settings: str) -> str:
        from ..output.report import as_svg
        from .reporting import report_of

        pictures = {self.drawn: as_svg(figure, self.drawn)}
        return report_of(self.study, self.summary, self.table(), pictures, settings, self.described).page()

    def save(self, out: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write summary, Zarr stores, figure and report to a folder.

        Parameters
        ----------
        out : path
            The folder, which is made if it is not there.
        overwrite : bool
            Replace another result that simdrop wrote there; other files stay in any case.

        Raises
        ------
        InvalidInput
            The folder holds another result, or cannot be written to.
        """
        from ..output.folder import Folder

        with Folder(
            out, self.study, self.files(), overwrite=check_flag("overwrite", overwrite), run=self.run_id or None
        ) as folder:
            self.write(folder)
