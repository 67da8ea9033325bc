"""A session that was recorded, as an object: its figures, its samples and its report."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np

from spikelet.errors import Disagreement, UsageError
from spikelet.graph import Array
from spikelet.metrics import error_text
from spikelet.run.reals import called
from spikelet.run.session_folder import SessionFolder

PAGE_HEIGHT = 640  # pixels of a report within a notebook


class Page:
    """A report: one HTML file without scripts or references to the outside.

    Attributes:
        path: of the file.
        shown: what it shows, as plain values: `samples`, `mismatches`, `complete`, ...

    A notebook shows it in a frame.
    """

    def __init__(self, path: Path, shown: dict[str, Any]) -> None:
        self.path, self.shown = path, shown

    def __repr__(self) -> str:
        return f"<Page {self.path}>"

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" title="report" sandbox '
            f'style="width:100%;height:{PAGE_HEIGHT}px;border:1px solid #8888"></iframe>'
        )


class Session:
    """What a run, a bench or a session that learned found.

    Attributes:
        path: the session's folder.
        result: all figures, as `spikelet run --json`, `bench --json` or `learn --json` prints
            them; of a session that broke off, what was known when it began.
        moved: where the session lies that was in this folder before, if there was one.
    """

    def __init__(self, folder: SessionFolder, result: dict[str, Any]) -> None:
        self.path, self.moved = folder.path, folder.moved
        self.result = result

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """A session that was recorded before, complete or broken off.

        Raises:
            UsageError: the folder holds no session.

        >>> session = package.run("native", session="kept")
        >>> spikelet.Session.load("kept").mismatches
        0
        """
        folder = SessionFolder(Path(path))
        return cls(folder, folder.head())

    @property
    def mismatches(self) -> int:
        """Elements that differ from golden: 0, or the run failed.

        Raises:
            UsageError: the session broke off.
        """
        if not self.complete:
            raise UsageError(
                f"session {self.path} is not complete",
                "it broke off, or is still under way",
                "go on with it (resume=True); its report shows what is recorded",
            )
        return int(self.result["mismatches"])

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return bool(self.result["complete"])

    @property
    def accuracy(self) -> float | None:
        """Share of the samples whose class the device names; None without labels."""
        accuracy: float | None = self.result.get("accuracy")
        return accuracy

    @property
    def error(self) -> dict[str, float] | None:
        """`mae` and `rmse` of a regression, in the unit of its output; None without targets."""
        error: dict[str, float] | None = self.result.get("error")
        return error

    @property
    def label(self) -> Array | None:
        """(N,) the class that the device names for each sample; None of a regression."""
        if not self.result.get("names_classes", True):
            return None
        found = [sample.device for sample in SessionFolder(self.path).samples()]
        return called(self.result["manifest"], np.array(found, np.int64))

    def check(self) -> None:
        """Raise Disagreement, with the first differences, unless the device is golden to the bit.

        >>> package.run("native").check()
        """
        if self.mismatches:
            named = [d["text"] for d in self.result["differences"][:3]]
            raise Disagreement(
                f"{self.mismatches} elements of the device differ from golden: {'; '.join(named)}",
                "a kernel, a compiler or the memory of the device is at fault",
                "layers=True compares every layer in every step",
            )

    def report(
        self,
        out: Path | str | None = None,
        *,
        against: Session | Path | str | None = None,
        bench: Session | Path | str | None = None,
    ) -> Page:
        """Write the session's page.

        Args:
            out: the file; by default report.html in the session's folder.
            against: an earlier session: the page then shows what differs from it.
            bench: a bench of the same package and board, whose figures by layer are shown; by
                default this session, where it is one.

        Raises:
            UsageError: a session that is not complete, or is of another package or board.

        >>> package.run("native").report().path.name
        'report.html'
        """
        from spikelet.run.session_page import write_report

        path = self.path / "report.html" if out is None else Path(out)
        earlier, measured = (
            given.path if isinstance(given, Session) else None if given is None else Path(given)
            for given in (against, bench)
        )
        shown = write_report(
            SessionFolder(self.path), path, against=earlier,
            bench=None if measured is None else SessionFolder(measured),
        )  # fmt: skip
        return Page(path, shown)

    def _facts(self) -> dict[str, str]:
        """What a person is told, by title."""
        result = self.result
        accuracy = self.accuracy
        of = ", trace build" if (result.get("build") or {}).get("trace") else ""
        figures = {
            "samples": f"{result.get('samples', 0):,}",
            "mismatches": f"{self.mismatches:,}" if self.complete else None,
            "accuracy": None if accuracy is None else f"{100 * accuracy:.2f} %",
            "error": error_text(self.error),
            "instructions an inference": result.get("instructions_per_inference"),
            "cycles an inference": result.get("cycles_per_inference"),
            f"flash, bytes{of}": result.get("flash_bytes"),
            f"static RAM, bytes{of}": result.get("ram_bytes"),
            "stack, bytes": result.get("stack_bytes"),
        }
        return {
            title: value if isinstance(value, str) else f"{value:,.0f}"
            for title, value in figures.items()
            if value is not None
        }

    def _verdict(self) -> str:
        if not self.complete:
            return "it broke off"
        return f"the device {'DIFFERS from golden' if self.mismatches else 'is golden to the bit'}"

    def _title(self) -> str:
        return f"{self.result['model']} on {self.result['board']} ({self.result.get('machine')})"

    def __repr__(self) -> str:
        facts = "; ".join(f"{title} {value}" for title, value in self._facts().items())
        return f"<Session {self._title()}: {facts}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><th style="text-align:left">{escape(title)}</th>'
            f'<td style="text-align:right">{escape(value)}</td></tr>'
            for title, value in self._facts().items()
        )
        head = f"<p><b>{escape(self._title())}</b>: {self._verdict()}.</p>"
        return f"{head}<table><tbody>{rows}</tbody></table>"
