"""The report: the session's own figures, nothing from the network, small, and never a crash."""

from __future__ import annotations

import json
import re
import resource
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import CLASSES, HIDDEN, SAMPLES, STEPS, Spikelet
from plan_graphs import conv, image
from spikelet.board import find_board
from spikelet.graph import Graph
from spikelet.package import Package
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.session_page import page_of, session_view, write_report
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


@pytest.fixture(scope="module")
def recorded(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session, every layer compared, that each test has a copy of."""
    folder = tmp_path_factory.mktemp("report") / "s"
    assert run_small(Package.load(package), folder)["mismatches"] == 0
    return folder


def run_small(package: Package, folder: Path) -> dict[str, Any]:
    board = find_board("native")
    built = make(package, board, folder.parent / "build", trace=True)
    target, stream = SessionTarget(board, built), package_stream(package)
    return run(package, target, stream, SessionFolder(folder), layers=True, shown=0)[0]


@pytest.fixture
def session(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionFolder:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(recorded, "s")
    return SessionFolder(Path("s"))


@pytest.fixture
def plain(session: SessionFolder) -> SessionFolder:
    """The same without the sample that is drawn, which takes most of a page's time."""
    (session.path / "shown.npz").unlink()
    return session


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


def test_no_half_page_is_left_where_the_disk_is_full(plain: SessionFolder) -> None:
    Path("old.html").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # stands for a full disk
    try:
        for name in ("old.html", "new.html"):
            with pytest.raises(OSError, match="too large"):
                write_report(plain, Path(name))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Path("old.html").read_text() == "old" and not Path("new.html").exists()


def test_differences_are_marked_and_counted(session: SessionFolder) -> None:
    shown = session.shown_sample()
    shown["device.lif1.membrane"] = shown["device.lif1.membrane"].copy()
    shown["device.lif1.membrane"][3, 2] += 1
    spikes = shown["device.lif1.spikes"].copy()
    spikes[2, :2] = 1 - shown["golden.lif1.spikes"][2, :2]
    only_device = int(spikes[2, :2].sum())
    shown["device.lif1.spikes"] = spikes
    session.show(shown)
    assert write_report(session, Path("report.html"))["sample"]["wrong"] == 3
    page = Path("report.html").read_text()
    _check(page)
    assert "1 values differ from golden" in page
    for who, count in (
        ("\u00d7 only device", only_device),
        ("\u25cb only golden", 2 - only_device),
    ):
        assert (f"{who}: {count}" in page) == (count > 0)
    # What the marks mean stands below the figure, not in it.
    assert ">\u00d7</span> only the device, " in page


def test_a_session_without_shown_sample_or_labels(plain: SessionFolder) -> None:
    lines = Path("s/samples.jsonl").read_text().splitlines()
    unlabelled = [json.dumps({**json.loads(line), "label": -1}) + "\n" for line in lines]
    Path("s/samples.jsonl").write_text("".join(unlabelled))
    view = write_report(plain, Path("report.html"))
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


def _hostile(value: Any) -> Any:
    """Every text of a session made into markup; what is looked up by its value stays."""
    if isinstance(value, dict):
        return {k: v if k in ("dtype", "kind", "phase") else _hostile(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_hostile(v) for v in value]
    return f"<b id=x onclick='x'>\"&{value}$^$</style>" if isinstance(value, str) else value


def test_names_from_outside_are_escaped(session: SessionFolder) -> None:
    head = session.head()
    head["manifest"]["class_names"] = ["a", "b", "c", "d"]
    session.finish(_hostile(head))
    write_report(session, Path("report.html"))
    page = Path("report.html").read_text()
    assert "<b id=x" not in page and "$^$</style>" not in page
    assert "&lt;b id=x onclick=&#39;x&#39;&gt;&#34;&amp;small$^$&lt;/style&gt; on &lt;b" in page
    _check(page)


def test_classes_are_called_by_their_names(plain: SessionFolder) -> None:
    head, names = plain.head(), ["left", "right", "up", "d" * 300]
    plain.finish({**head, "manifest": {**head["manifest"], "class_names": names[:3]}})
    write_report(plain, Path("report.html"))
    page = Path("report.html").read_text()
    for number, name in enumerate([*names[:3], "3"]):  # a class that has no name has its number
        assert f'<th scope="col" title="{name}"><span>{name}</span></th>' in page
        assert f'<th scope="row" title="{name}">{name}</th>' in page, number
    wrong = [s for s in plain.samples() if s.label != s.device]
    said = ["left", "right", "up", "3"]
    for sample in wrong:
        assert f"#{sample.index}: {said[sample.label]} taken for {said[sample.device]}<" in page


@pytest.mark.quick
@pytest.mark.parametrize(
    ("used", "limit", "taken"),
    [(19_148, 524_288, 3.65), (1, 2**31, 0), (2**31, 2**31, 100), (300, 400, 75), (9, None, 100)],
)
def test_a_bar_is_as_long_as_its_share(used: int, limit: int | None, taken: float) -> None:
    image = {
        "flash_bytes": used, "weight_bytes": used // 3, "ram_bytes": used, "arena_bytes": 1,
        "memory": limit and {"flash_bytes": limit, "ram_bytes": limit},
    }  # fmt: skip
    view = session_view({"build": image}, [], {})
    page = page_of(view)
    _check(page)
    flash = page[page.index("<h3>Flash: ") :].split("<ul")[0]
    said = re.sub(r"\s", "", flash.split("</h3>")[0])
    if limit is None:
        assert 'class="used"' not in flash and "ofnostatedlimit" in said
    else:
        drawn = float(re.search(r'class="used" style="width:([\d.]+)%"', flash)[1])  # type: ignore[index]
        assert drawn == pytest.approx(taken, abs=0.01)
        assert f"{used}of{limit}bytes" in said and f"{limit - used}free" in said
    assert ("What is taken, enlarged" in flash) == (limit is not None and used / limit < 0.5)
    widths = [float(w) for w in re.findall(r'class="part\d" style="width:([\d.]+)%"', flash)]
    bars = widths[: len(widths) // (2 if "enlarged:" in flash else 1)]
    assert sum(bars) == pytest.approx(100, abs=0.01)


def test_phases_of_an_inference_stand_apart(plain: SessionFolder) -> None:
    view = write_report(plain, Path("report.html"))
    phases = [(name, [row["name"] for row in rows]) for name, rows in view["layer_phases"]]
    assert phases == [
        ("once an inference", ["fc1"]),
        (f"in every one of {STEPS} steps", ["lif1", "fc2", "lif2", "counts"]),
        ("after the last step", ["label"]),
    ]
    page = Path("report.html").read_text()
    assert page.count('<tr class="phase">') == 3
    assert all(f">{name}</text>" in page for name in ("once an inference", "after the last step"))


def test_a_bench_shows_its_layers_in_the_page_of_a_run(
    spikelet: Spikelet, package: Path, recorded: Path
) -> None:
    board = ("-b", "virt-rv32", "--limit", "2")
    assert spikelet("bench", package, *board, "--session", "bench").code == 0
    bench = SessionFolder(Path("bench")).bench()
    view = write_report(SessionFolder(Path("bench")), Path("report.html"))
    page = Path("report.html").read_text()
    _check(page)
    assert {name: c["ticks"] for name, c in view["bench"]["layers"].items()} == {
        row["name"]: row["ticks"] for row in bench["layers"]
    }
    shares = [*view["bench"]["layers"].values(), view["bench"]["rest"]]
    assert sum(part["share"] for part in shares) == pytest.approx(1)
    for row in bench["layers"]:
        figure = f"{row['ticks']:,.0f}".replace(",", "\u202f")
        assert f'<td class="n">{figure}</td><td class="n share"' in page
    # A run on the same board shows them when it is told where they are; one on another refuses.
    assert spikelet("run", package, *board, "--session", "run").code == 0
    assert spikelet("report", "run").code == 0
    assert 'class="n share"' not in Path("run/report.html").read_text()
    assert spikelet("report", "run", "--bench", "bench").code == 0
    assert Path("run/report.html").read_text().count('class="n share"') == len(bench["layers"]) + 1
    assert spikelet("report", "run", "--bench", "run").code == 2
    refused = spikelet("report", recorded, "--bench", "bench", "-o", "never.html")
    assert refused.code == 2 and "board virt-rv32, this session has native" in refused.err
    assert not Path("never.html").exists()


def test_an_earlier_session_is_compared_layer_by_layer(
    plain: SessionFolder, spikelet: Spikelet
) -> None:
    shutil.copytree("s", "earlier")
    head = plain.head()
    head["build"]["layers"][0]["ram_bytes"] += 16
    head["ram_bytes"] += 16
    head["build"]["layers"][1]["name"] = "renamed"
    plain.finish({**head, "data_sha256": "0" * 64})
    assert spikelet("report", "s", "--against", "earlier").code == 0
    page = Path("s/report.html").read_text()
    _check(page)
    part = page[page.index("Compared with an earlier session") : page.index("<h2>Memory")]
    assert f"A is <code>earlier</code>, {head['date']}" in part
    assert f'other data sha256: <span class="hash">{head["data_sha256"]}</span> was' in part
    rows = re.findall(r"<tr><th scope=\"row\">(\w+)</th><td>([^<]*)</td>", part)
    assert rows == [("fc1", "RAM"), ("lif1", "only in A"), ("renamed", "only in B")]
    assert part.count('<td class="n worse">+16</td>') == 2  # of the image, and of the layer
    plain.finish({**plain.head(), "complete": False})
    broken = spikelet("report", "s", "--against", "earlier")
    assert broken.code == 2 and "is not complete" in broken.err
