"""The report's figures at both ends of size: no name over another one, none over the data."""

from __future__ import annotations

from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from spikelet.graph import Array
from spikelet.graph.operator import Phase
from spikelet.run import figures

SOME = settings(max_examples=6, deadline=None)
TOUCH = 0.75  # points by which two may come nearer than their boxes say
NAMES = st.text("abmW_.$\\^{}<&", min_size=1, max_size=65)


def drawn(function: str, *arguments: object) -> tuple[Figure, list[Text]]:
    """The figure that becomes the SVG, and every text that is drawn in it."""
    with mock.patch.object(figures, "svg") as kept:
        getattr(figures, function)(*arguments)
    figure: Figure = kept.call_args.args[0]
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts: list[Text] = []
    with mock.patch.object(renderer, "draw_text") as draw:
        figure.draw(renderer)
        texts += [c.kwargs.get("mtext") or c.args[-1] for c in draw.call_args_list]
    assert not figure.findobj(Legend)
    return figure, [text for text in texts if text.get_text().strip()]


def outline(text: Text) -> Array:
    """(4, 2) corners of what a text takes, in points, turned as it is."""
    angle = text.get_rotation()
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    turned = text.get_window_extent()
    if angle % 90:
        x = turned.x1 if text.get_ha() == "right" else turned.x0
        corners = np.array([(-box.width, -box.height), (0, -box.height), (0, 0), (-box.width, 0)])
        across = Affine2D().rotate_deg(angle)
        moved = across.transform(corners)
        result: Array = moved + np.array([x - moved[:, 0].max(), turned.y1 - moved[:, 1].max()])
        return result
    return turned.corners()[[0, 1, 3, 2]]


def overlap(a: Array, b: Array) -> bool:
    """Whether two convex outlines have more than a margin in common: no axis separates them."""
    if (a.max(axis=0) < b.min(axis=0)).any() or (b.max(axis=0) < a.min(axis=0)).any():
        return False
    for polygon in (a, b):
        for edge in np.roll(polygon, -1, axis=0) - polygon:
            normal = np.array([-edge[1], edge[0]]) / (np.hypot(*edge) or 1.0)
            first, second = a @ normal, b @ normal
            if first.max() - TOUCH <= second.min() or second.max() - TOUCH <= first.min():
                return False
    return True


def check_texts(figure: Figure, texts: list[Text]) -> None:
    outlines = [outline(text) for text in texts]
    for (one, a), (other, b) in combinations(zip(texts, outlines, strict=True), 2):
        assert not overlap(a, b), (one.get_text(), other.get_text())
    page = figure.bbox
    for text, corners in zip(texts, outlines, strict=True):
        inside = (page.min - 1 <= corners).all() and (corners <= page.max + 1).all()
        assert inside, f"{text.get_text()} is cut off"


def check_lines(figure: Figure, texts: list[Text]) -> None:
    """No text lies on a mark or a line of the data."""
    for axis in figure.findobj(Axes):
        for line in axis.get_lines():
            if line.get_transform() != axis.transData or not len(line.get_xydata()):
                continue
            points = axis.transData.transform(np.asarray(line.get_xydata(), float))
            for text in texts:
                box = text.get_window_extent()
                on = (points > box.min).all(axis=1) & (points < box.max).all(axis=1)
                assert not on.any(), f"{text.get_text()} lies on the data"


@st.composite
def rasters(draw: st.DrawFn) -> tuple[list[tuple[str, Array, Array]], int]:
    steps = draw(st.sampled_from([2, 7, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    layers = []
    for number in range(draw(st.sampled_from([1, 2, 5]))):
        neurons = draw(st.sampled_from([1, 2, 40, 3000]))
        golden = rng.random((steps, neurons)) < draw(st.sampled_from([0, 0.1, 1]))
        device = golden ^ (rng.random((steps, neurons)) < draw(st.sampled_from([0, 0.02, 1])))
        name = f"{draw(NAMES)}{number}"
        layers.append((name, golden.astype(np.uint8), device.astype(np.uint8)))
    return layers, steps


@pytest.mark.long
@SOME
@given(rasters())
def test_a_raster_has_its_names_and_counts_off_its_spikes(
    drawn_layers: tuple[list[tuple[str, Array, Array]], int],
) -> None:
    check_raster(*drawn_layers)


def check_raster(layers: list[tuple[str, Array, Array]], steps: int) -> None:
    figure, texts = drawn("raster", layers, steps)
    check_texts(figure, texts)
    check_lines(figure, texts)
    said = "\n".join(text.get_text() for text in texts)
    for _, golden, device in layers:
        for who, only in (("device", device > golden), ("golden", golden > device)):
            assert not only.any() or f"only {who}: {only.sum()}" in said


@pytest.mark.long
@SOME
@given(st.data())
def test_membranes_have_their_names_off_the_traces(data: st.DataObject) -> None:
    steps = data.draw(st.sampled_from([2, 30]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    layers = []
    for _ in range(data.draw(st.sampled_from([1, 3]))):
        shape = (steps, data.draw(st.sampled_from([1, 3, 50])))
        most = data.draw(st.sampled_from([0, 100, 2**31 - 1]))
        golden = rng.integers(-most - 1, most, shape, endpoint=True)
        device = golden + (rng.random(shape) < data.draw(st.sampled_from([0, 0.2])))
        layers.append((data.draw(NAMES), golden, device, rng.integers(0, 2, shape), golden[0]))
    check_membranes(layers)


def check_membranes(layers: list[tuple[str, Array, Array, Array, Array]]) -> None:
    figure, texts = drawn("membranes", layers)
    check_texts(figure, texts)
    check_lines(figure, texts)


@st.composite
def arenas(draw: st.DrawFn) -> tuple[list[dict[str, object]], list[dict[str, str]], int]:
    count = draw(st.sampled_from([1, 2, 7, 28, 60, 300]))
    size = draw(st.sampled_from([1, 3, 232, 19_000, 2**31]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    long = draw(st.sampled_from([1, 9, 32]))
    edges = sorted(rng.integers(0, count + 1, len(Phase) - 1))
    phases = np.searchsorted(edges, np.arange(count), side="right")
    layers = [
        {"name": f"l{n}_{'W' * long}"[:32], "phase": Phase(int(phases[n])).name.lower()}
        for n in range(count)
    ]
    slots: list[dict[str, object]] = []
    for n in range(draw(st.sampled_from([1, count, min(2 * count, 300)]))):
        offset = int(rng.integers(0, size))
        first = int(rng.integers(-1, count + 1))
        slots.append({
            "tensor": f"t{n}.{'m' * long}", "offset": offset,
            "bytes": int(rng.integers(1, size - offset, endpoint=True)),
            "first": first, "last": min(count, first + int(rng.integers(0, 4))),
        })  # fmt: skip
    return slots, layers, size


@pytest.mark.long
@SOME
@given(arenas())
def test_names_in_the_arena_are_whole_and_apart(
    drawn_arena: tuple[list[dict[str, object]], list[dict[str, str]], int],
) -> None:
    check_arena(*drawn_arena)


def check_arena(slots: list[dict[str, object]], layers: list[dict[str, str]], size: int) -> None:
    figure, texts = drawn("arena", slots, layers, size)
    check_texts(figure, texts)
    (axis,) = figure.findobj(Axes)
    boxes = [
        axis.transData.transform_bbox(path.get_extents())
        for made in axis.findobj(PolyCollection)
        for path in made.get_paths()
    ]
    for text in texts:
        if text.get_text()[:1] != "t" or text not in axis.texts:
            continue
        name = text.get_window_extent()
        for box in boxes:  # no outline runs through a name
            apart = box.x1 <= name.x0 or name.x1 <= box.x0 or box.y1 <= name.y0 or name.y1 <= box.y0
            around = (box.min <= name.min).all() and (name.max <= box.max).all()
            assert apart or around, text.get_text()


@pytest.mark.parametrize("wanted", ["x", "hidden", "output"])
def test_a_box_with_room_has_its_name(wanted: str) -> None:
    slots = [
        {"tensor": "x", "offset": 0, "bytes": 100, "first": -1, "last": 0},
        {"tensor": "hidden", "offset": 100, "bytes": 60, "first": 0, "last": 1},
        {"tensor": "output", "offset": 0, "bytes": 90, "first": 1, "last": 2},
        {"tensor": "small", "offset": 90, "bytes": 1, "first": 1, "last": 2},
    ]
    layers = [{"name": name, "phase": "once"} for name in ("a", "b")]
    _, texts = drawn("arena", slots, layers, 160)
    said = [text.get_text() for text in texts]
    assert wanted in said and "small" not in said


@pytest.mark.long
@SOME
@given(st.data())
def test_learning_curves_have_their_phases_apart(data: st.DataObject) -> None:
    count, blocks = data.draw(st.sampled_from([(1, 1), (4, 4), (4, 16), (40, 40)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    learned = [
        0,
        *np.cumsum(rng.integers(1, data.draw(st.sampled_from([1, 900])), blocks, endpoint=True)),
    ]
    tasks = [f"{n} {data.draw(st.sampled_from(['class', 'W' * 300]))}" for n in range(count)]
    owners = [int(owner) for owner in np.arange(blocks) * count // blocks]
    beside = {
        name: float(rng.choice([0, 0.5, 0.51, 1])) for name in ("naive", "nearest_mean", "joint")
    }
    check_curves(tasks, learned, rng.random((blocks + 1, count)), owners, beside)


def check_curves(
    tasks: list[str],
    learned: list[int],
    accuracy: Array,
    owners: list[int],
    beside: dict[str, float],
) -> None:
    figure, texts = drawn("learning_curves", tasks, learned, accuracy, owners, beside)
    check_texts(figure, texts)
    check_lines(figure, texts)
    assert [text.get_text() for text in texts].count("before") == 1
    ends = {learned[n] for n in range(1, len(owners)) if owners[n] != owners[n - 1]}
    for axis in figure.findobj(Axes):
        lines = [line.get_xdata() for line in axis.get_lines()]
        places = {float(x[0]) for x in lines if len(x) == 2 and x[0] == x[1]}
        assert places == {0.0, *map(float, ends)}


def test_the_ends() -> None:
    """The least and the most of each figure; more between them is among the long tests."""
    one = np.ones((2, 1), np.uint8)
    check_raster([("a", one, 1 - one)], 2)
    check_raster([("a" * 65, one, one), ("b", *np.tile(one, (2, 1, 3000)))], 2)
    check_membranes([("m" * 65, *np.full((2, 2, 9), -(2**31)), np.tile(one, 9), np.array([1]))])
    layers = [{"name": f"l{n}" + "W" * 28, "phase": "once"} for n in range(60)]
    slots = [
        {"tensor": f"t{n}", "offset": n % 2 * 2**30, "bytes": 2**30, "first": n - 1, "last": n}
        for n in range(61)
    ]
    check_arena(slots, layers, 2**31)
    check_arena([{**slots[0], "bytes": 1}], layers[:1], 1)
    tasks = ["W" * 300, "b"]
    beside = {"naive": 0.0, "nearest_mean": 0.51, "joint": 0.5}
    check_curves(tasks, [0, 1, 2], np.ones((3, 2)), [0, 1], beside)
