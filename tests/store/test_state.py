"""Learned states in files: exact, and of this package only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from learned_models import learner_graph, samples
from spikelet.graph import Learned
from spikelet.learn import Twin, identity
from spikelet.learn.learner import extend
from spikelet.learn.state import MANIFEST, LearnedState, StateError
from spikelet.package import Package
from spikelet.run.learner import device_learner
from support import need


@pytest.fixture
def saved(package: Package, tmp_path: Path) -> Path:
    twin = Twin(package.graph)
    twin.observe(*samples(30))
    LearnedState.of(package, twin.state(), twin.steps).save(tmp_path / "state.npz")
    return tmp_path / "state.npz"


def test_a_device_goes_on_from_a_file(package: Package, tmp_path: Path) -> None:
    """Two devices, with a file between them, learn what one twin learns."""
    need("gcc")
    twin = Twin(package.graph)
    twin.observe(*samples(40))
    inputs, labels = samples(40)
    path = tmp_path / "sub" / "state.npz"
    with device_learner(package, "native", toolchain="gcc") as device:
        device.observe({"x": inputs["x"][:25]}, labels[:25])
        steps = device.device.learn_state().steps
        LearnedState.of(package, device.state(), steps).save(path)
    state = LearnedState.load(path, package)
    assert (state.steps, state.graph, list(state.tensors)) == (25, "raw", list(twin.learned))
    with device_learner(package, "native", toolchain="gcc") as device:
        device.restore(state.tensors, state.steps)
        device.observe({"x": inputs["x"][25:]}, labels[25:])
        assert device.compare(twin) == []
        assert device.device.learn_state().steps == twin.steps


def test_the_same_state_is_the_same_file(package: Package, saved: Path, tmp_path: Path) -> None:
    first = LearnedState.load(saved, package)
    first.save(tmp_path / "again.npz")
    second = LearnedState.load(tmp_path / "again.npz", package)
    for name, values in first.tensors.items():
        assert values.tobytes() == second.tensors[name].tobytes()
    manifests = [np.load(p)[MANIFEST].tobytes() for p in (saved, tmp_path / "again.npz")]
    assert manifests[0] == manifests[1]


def test_another_package_is_refused_with_both_names(saved: Path) -> None:
    with pytest.raises(StateError) as caught:
        LearnedState.load(saved, Package(learner_graph(units=13)))
    assert "learned by graph 'raw' of package" in caught.value.what
    assert caught.value.cause.startswith("it was saved from another model")


def edit(path: Path, **changes: object) -> Path:
    """The file with other arrays or entries of the manifest, and its hash as it was."""
    arrays = dict(np.load(path))
    manifest = json.loads(arrays[MANIFEST].tobytes())
    for name, value in changes.items():
        if name in manifest:
            manifest[name] = value
        else:
            arrays[name.replace("__", ".")] = value
    arrays[MANIFEST] = np.frombuffer(json.dumps(manifest, sort_keys=True).encode(), np.uint8)
    np.savez(path, **arrays)
    return path


def test_another_version_is_refused(package: Package, saved: Path) -> None:
    with pytest.raises(StateError, match="format 2, not 1"):
        LearnedState.load(edit(saved, format=2), package)


@pytest.mark.parametrize("steps", [-1, 1 << 32, 10**30])
def test_steps_that_no_device_counts_are_refused(package: Package, saved: Path, steps: int) -> None:
    """Whoever edits a file can make its hash anew."""
    state = LearnedState.load(saved, package)
    LearnedState(state.package_sha256, state.graph, state.tensors, steps).save(saved)
    with pytest.raises(StateError, match="its manifest is not one of a learned state"):
        LearnedState.load(saved, package)


def test_any_change_is_noticed(package: Package, saved: Path) -> None:
    original = saved.read_bytes()
    name, values = next(iter(LearnedState.load(saved, package).tensors.items()))
    for change in (
        {"steps": 31},
        {"package_sha256": "0" * 64},
        {"graph": "other"},
        {name.replace(".", "__"): values + 1},
        {name.replace(".", "__"): values.reshape(1, *values.shape)},
        {"more": np.zeros(3)},
    ):
        saved.write_bytes(original)
        with pytest.raises(StateError, match="do not match their hash"):
            LearnedState.load(edit(saved, **change), package)


def test_damage_is_named(package: Package, saved: Path, tmp_path: Path) -> None:
    data = saved.read_bytes()
    LearnedState.load(saved, package)
    for cut in (0, 1, 100, len(data) // 2, len(data) - 1):
        saved.write_bytes(data[:cut])
        with pytest.raises(StateError, match="not a learned state"):
            LearnedState.load(saved, package)
    for at in range(0, len(data), 7):
        saved.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        try:
            LearnedState.load(saved, package)  # a byte of the zip that means nothing
        except StateError as error:
            assert error.what
    np.savez(saved, x=np.zeros(3))
    with pytest.raises(StateError, match="it holds no manifest"):
        LearnedState.load(saved, package)
    with pytest.raises(StateError, match="no such file"):
        LearnedState.load(tmp_path / "nothing.npz", package)


def test_values_that_the_graph_does_not_allow_are_refused() -> None:
    learned = [
        Learned.of("m.count", "i32", (3,), low=0, high=10),
        Learned.of("m.weight", "f32", (2,)),
    ]
    graph = extend(identity((4,)), [], learned, ["features"])
    package = Package(graph)
    good = graph.initial()
    assert LearnedState.of(package, good, 0).tensors.keys() == good.keys()
    for change, words in (
        (
            {"m.count": np.array([0, 11, 0], np.int32)},
            r"m\.count\[1\] is 11, not a number within 0",
        ),
        ({"m.weight": np.array([0, np.nan], np.float32)}, r"m\.weight\[1\] is nan"),
        ({"m.weight": np.array([-np.inf, 0], np.float32)}, r"m\.weight\[0\] is -inf"),
        ({"m.count": np.zeros(4, np.int32)}, r"m\.count is int32 of shape \(4,\)"),
        ({"m.other": np.zeros(4, np.int32)}, "it was saved from another model"),
    ):
        with pytest.raises(StateError, match=words):
            LearnedState.of(package, {**good, **change}, 0)
