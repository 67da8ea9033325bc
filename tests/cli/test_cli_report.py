"""The report: the session's own figures, nothing from the network, small, and never a crash."""

from __future__ import annotations

import json
import re
import resource
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cli_support import CLASSES, HIDDEN, SAMPLES, STEPS, Spikelet
from plan_graphs import conv, image
from spikelet.graph import Graph
from spikelet.run import SessionFolder
from spikelet.run.session_page import session_view, write_report
from targets import make_package

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "rect", "use", "line", "circle"}


class _Checker(HTMLParser):
    """Nesting, ids and references of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.labelled_svgs = 0
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.references += [str(v) for k, v in attrs if k in ("href", "src", "xlink:href")]
        self.labelled_svgs += tag == "svg" and bool(found.get("aria-label"))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def _check(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert not checker.open
    assert len(checker.ids) == len(set(checker.ids))
    assert not re.search(r"https?://", page)
    assert {"script", "link", "img", "iframe"}.isdisjoint(checker.tags)
    assert all(r.removeprefix("#") in checker.ids for r in checker.references)
    urls = re.findall(r"url\(#([^)]*)\)", page)
    assert set(urls) <= set(checker.ids) and page.count("url(") == len(urls)
    assert len(page.encode()) < 600_000
    return checker


@pytest.fixture
def session(spikelet: Spikelet, package: Path) -> SessionFolder:
    assert spikelet("run", package, "-b", "native", "--layers", "--session", "s").code == 0
    return SessionFolder(Path("s"))


def test_figures_of_the_session_are_on_the_page(session: SessionFolder) -> None:
    view = write_report(session, Path("report.html"))
    page = Path("report.html").read_text()
    checker = _check(page)
    assert checker.labelled_svgs == 4  # input, raster, membranes, arena
    head = session.head()
    for text in (
        head["package_sha256"],
        head["data_sha256"],
        "87.50\u202f%",
        f"{SAMPLES - 3} of {SAMPLES} samples",
        f"every layer in every one of {STEPS} steps",
        f"<td>{head['link']['frames']:,}, 0 bad</td>".replace(",", "\u202f", 1)
        if head["link"]["frames"] > 999
        else f"<td>{head['link']['frames']}, 0 bad</td>",
        "torch 0.0-test",
        "3 misclassified samples",
        "Sample 0, element by element",
        f"lif1.spikes, {HIDDEN} neurons",
    ):
        assert text in page, text
    # The sample that is drawn: what is written in each step, once before them, and at the end.
    per_step, once, end = 2 * HIDDEN + 3 * CLASSES + CLASSES, HIDDEN, 1
    assert view["sample"]["compared"] == STEPS * per_step + once + end
    assert view["sample"]["wrong"] == 0
    rows = view["confusion"]["rows"]
    assert sum(cell["n"] for row in rows for cell in row["cells"]) == SAMPLES
    assert sum(row["cells"][row["true"]]["n"] for row in rows) == SAMPLES - 3


@pytest.mark.parametrize(("channels", "colours"), [(1, False), (3, True)])
def test_an_int8_session_shows_its_image_and_counts_its_elements(
    spikelet: Spikelet, tmp_path: Path, channels: int, colours: bool
) -> None:
    shape = (6, 5, channels)
    node = conv(np.random.default_rng(0), "conv", "x", shape, 4, (3, 3))
    graph = Graph("image", 1, [image("x", shape)], [node], ["conv"])
    make_package(graph, 3).save(tmp_path / "image.spk")
    words = ("-b", "native", "--layers", "--session", "image")
    assert spikelet("run", tmp_path / "image.spk", *words).code == 0
    view = write_report(SessionFolder(Path("image")), Path("image.html"))
    page = Path("image.html").read_text()
    _check(page)
    assert view["sample"]["compared"] == graph.tensors["conv"].size
    assert view["sample"]["wrong"] == 0
    assert "every layer, 3 of 3 samples" in page and "The input, 6 by 5" in page
    assert bool(re.search(r'<rect [^>]*fill="#[0-9a-f]{6}"', page)) == colours
    for text in ("membranes", "syn. ops", "updates", "Synaptic"):
        assert text not in page.replace("--", ""), text


def test_the_same_session_gives_the_same_page(session: SessionFolder) -> None:
    write_report(session, Path("a.html"))
    write_report(session, Path("b.html"))
    assert Path("a.html").read_bytes() == Path("b.html").read_bytes()


def test_no_half_page_is_left_where_the_disk_is_full(session: SessionFolder) -> None:
    Path("old.html").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # stands for a full disk
    try:
        for name in ("old.html", "new.html"):
            with pytest.raises(OSError, match="too large"):
                write_report(session, Path(name))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path("old.html").read_text() == "old" and not Path("new.html").exists()


def test_differences_are_marked(session: SessionFolder) -> None:
    shown = session.shown_sample()
    shown["device.lif1.membrane"] = shown["device.lif1.membrane"].copy()
    shown["device.lif1.membrane"][3, 2] += 1
    spikes = shown["device.lif1.spikes"].copy()
    spikes[2, 1] ^= 1
    shown["device.lif1.spikes"] = spikes
    session.show(shown)
    assert write_report(session, Path("report.html"))["sample"]["wrong"] == 2
    page = Path("report.html").read_text()
    _check(page)
    assert "1 values differ from golden" in page
    assert re.search(r"only (device|golden)", page)


def test_a_session_without_shown_sample_or_labels(session: SessionFolder) -> None:
    Path("s/shown.npz").unlink()
    lines = Path("s/samples.jsonl").read_text().splitlines()
    unlabelled = [json.dumps({**json.loads(line), "label": -1}) + "\n" for line in lines]
    Path("s/samples.jsonl").write_text("".join(unlabelled))
    view = write_report(session, Path("report.html"))
    page = Path("report.html").read_text()
    _check(page)
    assert view["accuracy"] is None and view["sample"] is None
    assert "The samples have no labels." in page and "element by element" not in page


@pytest.mark.parametrize("kept", [0, 1, 7])
def test_a_session_that_broke_off(session: SessionFolder, kept: int) -> None:
    head = session.head()
    for key in ("link", "device", "mismatches", "differences", "stack_bytes", "samples"):
        head.pop(key)
    session.finish({**head, "complete": False})
    lines = Path("s/samples.jsonl").read_text().splitlines(keepends=True)
    Path("s/samples.jsonl").write_text("".join(lines[:kept]) + lines[kept][:20])
    Path("s/shown.npz").write_bytes(Path("s/shown.npz").read_bytes()[:100])
    view = write_report(session, Path("report.html"))
    page = Path("report.html").read_text()
    _check(page)
    assert view["samples"] == kept and not view["complete"]
    assert f"broke off after {kept} of {SAMPLES} samples" in page


def test_names_from_outside_are_escaped(session: SessionFolder) -> None:
    head = session.head()
    view = session_view({**head, "model": "<b>x", "data": "<script>"}, session.samples(), {})
    assert view["model"] == "<b>x"
    session.finish({**head, "model": "<b>x", "data": "<script>"})
    write_report(session, Path("report.html"))
    page = Path("report.html").read_text()
    assert "<b>x" not in page and "&lt;b&gt;x" in page
    _check(page)
