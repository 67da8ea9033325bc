"""Recipes of spiking networks of any shape: what is trained, what comes out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikelet.errors import UsageError
from spikelet.events import Binning
from spikelet.frontends.spiking.package import Plan
from spikelet.graph.ops.delayed_dense import DelayedDense
from spikelet.package import Package
from spikelet.train import EpochProgress, data, teacher, train
from spikelet.train.data import DataSet, load
from spikelet.train.recipe import RecipeError, SpikingRecipe, SpikingSection, load_recipe
from spikelet.train.recipe_figures import weight_bytes
from spikelet.train.spiking import fit
from spikelet.train.spiking import package as packages
from spikelet.train.spiking.executor import Executor
from spikelet.train.spiking.samples import Coding
from spikelet.train.spiking.teaching import Teaching

BUILDER = """
from spikelet.train.recipe_figures import weight_bytes
from spikelet.train.spiking import Builder

def build(shape, classes):
    net = Builder(shape)
    {body}
"""
DENSE = BUILDER.format(
    body="""x = net.lif(net.linear(net.input, 32))
    return net.network(net.linear(x, classes))"""
)
DELAYED = BUILDER.format(
    body="""x = net.lif(net.linear(net.input, 24), kept=0.8)
    x = net.lif(net.linear(net.delay(x, 2), 24), kept=0.8)
    return net.network(net.integrators(net.linear(x, classes), kept=0.9))"""
)
LATE = BUILDER.format(
    body="""x = net.lif(net.linear(net.input, 16), kept=0.8)
    x = net.lif(net.linear(x, 16, delays=3), kept=0.8)
    return net.network(net.integrators(net.linear(x, classes, delays=1), kept=0.9))"""
)
JELLY = """
from torch import nn
from spikingjelly.activation_based import neuron

def build(shape, classes):
    return nn.Sequential(
        nn.Conv2d(shape[0], 4, 3, bias=False), nn.BatchNorm2d(4), neuron.IFNode(v_reset=None),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, classes),
    )
"""
RECIPE: dict[str, dict[str, Any]] = {
    "data": {"name": "digits"},
    "spiking": {"steps": 4},
    "train": {"epochs": 2, "batch": 64, "learning_rate": 5e-3},
    "quantise": {"epochs": 1, "learning_rate": 1e-3},
}


def folder(at: Path, model: str, **sections: dict[str, Any] | None) -> Path:
    """A recipe: RECIPE with sections in place of its own, or taken out."""
    lines = ['name = "tried"']
    for name, values in {**RECIPE, **sections}.items():
        if values is not None:
            lines.append(f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in values.items()]
    (at / "recipe.toml").write_text("\n".join(lines))
    (at / "model.py").write_text(model)
    return at


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else repr(value)


def trained(at: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Package, int]:
    """The package, and how many test samples golden labels otherwise than what was trained."""
    kept: list[tuple[Any, ...]] = []

    def plan_of(*arguments: Any) -> Plan:
        kept.append(arguments)
        return packages.plan_of(*arguments)

    monkeypatch.setattr(fit, "plan_of", plan_of)
    made = train(at)
    executor, recipe, coding = kept[0]
    data = recipe.data.load()
    assert isinstance(executor, Executor)
    codes = coding.codes(data, data.x_test)
    with torch.no_grad():
        scores = executor(coding.inputs(torch.from_numpy(codes)))
    golden = packages.predicted(made.graph, coding, codes, recipe.seed)
    return made, int((scores.argmax(dim=1).numpy() != golden).sum())


@pytest.mark.quick
def test_what_is_trained_is_what_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrain = {"epochs": 6, "learning_rate": 5e-3, "levels": 4}
    spiking = {"steps": 4, "batch_norm": True}
    package, differing = trained(
        folder(tmp_path, DENSE, pretrain=pretrain, spiking=spiking), monkeypatch
    )
    assert differing == 0
    assert package.manifest["integer_accuracy"] >= 0.93
    assert package.manifest["samples"] == 360
    assert package.graph.name == package.manifest["name"] == "tried"


def test_delays_over_rows_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Delays, leaks and thresholds are learned; weights have four bits; the rows are the time."""
    package, differing = trained(
        folder(
            tmp_path,
            DELAYED,
            spiking={"steps": 8, "encoder": "frames", "learn": ("delay", "leak", "threshold")},
            train={"epochs": 8, "batch": 64, "learning_rate": 1e-2, "rate": 0.2},
            delays={"most": 7, "width": 2.0, "kept": 0.5},
            quantise={"epochs": 3, "learning_rate": 2e-3, "bits": 4},
        ),
        monkeypatch,
    )
    assert differing == 0
    nodes = {node.name: node for node in package.graph.nodes}
    steps = next(node.steps for name, node in nodes.items() if name.startswith("delay"))  # type: ignore[attr-defined]
    assert steps.max() <= 7
    assert np.count_nonzero(steps) <= 12  # half of 24
    assert len(np.unique(steps)) > 2
    weights = [node.arrays()["weight"] for node in nodes.values() if node.KIND == "dense"]
    assert all(np.abs(w.astype(int)).max() <= 7 for w in weights)
    assert package.manifest["integer_accuracy"] >= 0.5


def test_delays_of_synapses_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A weight of four bits and its delay are one byte."""
    package, differing = trained(
        folder(
            tmp_path,
            LATE,
            spiking={"steps": 8, "encoder": "frames", "batch_norm": True, "learn": ("delay",)},
            train={"epochs": 4, "batch": 64, "learning_rate": 1e-2},
            delays={"most": 7, "width": 2.0, "kept": 0.75, "ram_bytes": 300},
            quantise={"epochs": 1, "learning_rate": 2e-3, "bits": 4},
        ),
        monkeypatch,
    )
    assert differing == 0
    late = [node for node in package.graph.nodes if isinstance(node, DelayedDense)]
    assert [node.delays.shape for node in late] == [(16, 16), (10, 16)]
    assert all(len(np.unique(node.delays)) > 2 and node.longest <= 7 for node in late)
    assert all(np.count_nonzero(node.delays) <= 0.75 * node.delays.size for node in late)
    assert weight_bytes(package.graph) == 16 * 8 + (16 + 10) * 16
    kept = sum(tensor.nbytes for node in late for tensor in node.outs if tensor.persistent)
    assert kept <= 300 < sum(node.kept_bytes(gather=False) for node in late)
    assert package.manifest["integer_accuracy"] >= 0.5


def test_delays_that_may_not_fit_are_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder(
        tmp_path,
        LATE,
        spiking={"steps": 8, "encoder": "frames", "learn": ("delay",)},
        train={"epochs": 4},
        delays={"most": 40, "ram_bytes": 200},
        quantise={"epochs": 1, "learning_rate": 2e-3},
    )
    with pytest.raises(RecipeError, match=r"may keep 256 bytes of RAM, and ram_bytes .* is 200"):
        trained(place, monkeypatch)  # 2 words of each of 16 neurons, twice


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of nmnist_small: class k is events in row k alone."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    frames = np.zeros((200, 5, 10, 4, 2), np.uint8)
    frames[np.arange(200), :, labels] = rng.integers(0, 3, (200, 5, 4, 2))

    def load(name: str, binning: Binning) -> DataSet:
        seen = frames if binning.counts else np.minimum(frames, 1)
        parts = seen[:160], labels[:160], seen[160:], labels[160:]
        return DataSet(name, *parts, 10, (5, 10, 4, 2), "the last 40", np.ones(1, np.float32))

    monkeypatch.setitem(data.EVENT_SETS, "nmnist_small", load)


@pytest.mark.parametrize("counts", [False, True])
def test_a_network_of_events_is_trained_and_gets_them_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recordings: None, counts: bool
) -> None:
    """Augmented, too: what was drawn beyond a bit is a bit again."""
    at = folder(
        tmp_path,
        DENSE + "\ndef augment(x, y):\n    return 2 * x, y\n",
        spiking={"steps": 5, "encoder": "event_counts" if counts else "events"},
        train={"epochs": 6, "batch": 16, "learning_rate": 1e-2},
    )
    recipe = (at / "recipe.toml").read_text()
    events = f"[data.events]\nsteps = 5\nbin_us = 1000\ncounts = {str(counts).lower()}\n"
    (at / "recipe.toml").write_text(recipe.replace("digits", "nmnist_small") + "\n" + events)
    package, differing = trained(at, monkeypatch)
    assert differing == 0
    stream = package.graph.stream
    assert stream is not None and stream.dtype == ("u8" if counts else "bit")
    assert stream.shape == (10, 4, 2)
    assert package.manifest["integer_accuracy"] >= 0.9


def test_long_steps_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recordings: None
) -> None:
    """What long steps have learned, the short ones need not."""
    told: list[EpochProgress] = []
    at = folder(
        tmp_path,
        DENSE,
        spiking={"steps": 5, "encoder": "events"},
        coarse={"factor": 5, "epochs": 6, "learning_rate": 1e-2},
        train={"epochs": 0, "batch": 16},
        quantise={"epochs": 1, "learning_rate": 1e-6},
    )
    recipe = (at / "recipe.toml").read_text()
    events = "[data.events]\nsteps = 5\nbin_us = 1000\n"
    (at / "recipe.toml").write_text(recipe.replace("digits", "nmnist_small") + "\n" + events)
    package = train(at, progress=told.append)
    assert [p.phase for p in told] == ["coarse"] * 6 + ["quantised"]
    assert told[-1].accuracy >= 0.8 and told[-1].epochs == 7
    assert package.graph.steps == 5
    assert package.manifest["integer_accuracy"] >= 0.8


def test_bits_are_not_made_of_counts(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"counts of up to 255 events, but bits are asked for"):
        train(folder(tmp_path, DENSE, spiking={"steps": 8, "encoder": "events"}))


AUGMENTED = """

def augment(x, y):
    assert x.shape[1:] == (1, 8, 8) and 0 <= x.min() and x.max() <= 1
    targets = torch.nn.functional.one_hot(y, 10).float()
    return x.flip(3), targets.flip(0)
"""


def test_a_model_augments_real_values_channels_first(tmp_path: Path) -> None:
    """Images are mirrored and labels are of other samples: nothing can be learned."""
    model = "import torch\n" + DENSE + AUGMENTED
    package = train(folder(tmp_path, model, train={"epochs": 6, "learning_rate": 5e-3}))
    assert package.manifest["integer_accuracy"] <= 0.4


def test_augmented_codes_are_those_of_the_values_that_augment_returned() -> None:
    data = load("digits")
    coding = Coding.of(data, SpikingSection(steps=4))
    codes, labels = torch.from_numpy(data.x_train[:5]), torch.from_numpy(data.y_train[:5])
    made, targets = coding.augmented(codes, labels, lambda x, y: (x.flip(3) * 2, y))
    assert torch.equal(made, (codes.flip(2).int() * 2).clamp(max=255).to(torch.uint8))
    assert torch.equal(targets, labels)


class Kept(Teaching):
    """The last one that was made."""

    last: Kept

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Kept.last = self


def test_a_teacher_is_trained_first_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network learns from its scores alone: with share = 1 labels do not count."""
    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path))
    monkeypatch.setattr(fit, "Teaching", Kept)
    how = {"epochs": 3, "learning_rate": 5e-3, "channels": 8, "share": 1.0}
    at, seen = folder(tmp_path, DENSE, teacher=how), list[EpochProgress]()
    package = train(at, progress=seen.append)
    rest = ["float"] * 2 + ["quantised"]
    assert [p.phase for p in seen] == ["teacher"] * 3 + rest
    assert [(p.epoch, p.epochs) for p in seen] == [(1, 3), (2, 3), (3, 3)] * 2
    assert package.manifest["integer_accuracy"] > 0.8
    digits = load("digits")
    answers = Kept.last.answers(torch.from_numpy(digits.x_test), 0, torch.zeros(0))
    assert (answers.argmax(dim=1).numpy() == digits.y_test).mean() > 0.9
    assert float(Kept.last.loss(answers, answers, torch.tensor(7.0))) == pytest.approx(0, abs=1e-5)
    seen.clear()
    assert train(at, progress=seen.append).sha256 == package.sha256
    assert [p.phase for p in seen] == rest
    train(folder(tmp_path, DENSE, teacher={**how, "share": 0.5}), progress=seen.append)
    assert "teacher" not in {p.phase for p in seen}  # how it teaches changes nothing of it


def test_a_teacher_teaches_without_time_and_answers_copies_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pretrained by a teacher that takes each digit for the next one, the network does so, too."""

    class Wrong(Kept):
        def answers(self, *arguments: Any) -> torch.Tensor:
            return super().answers(*arguments).roll(1, 1)

    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path))
    monkeypatch.setattr(fit, "Teaching", Wrong)
    package = train(
        folder(
            tmp_path,
            DENSE,
            deform={"shift": 0.05, "copies": 2},
            pretrain={"epochs": 4, "learning_rate": 5e-3, "levels": 4},
            train={"epochs": 0, "batch": 64},
            quantise={"epochs": 0},
            teacher={"epochs": 2, "learning_rate": 5e-3, "channels": 8, "share": 1.0},
        )
    )
    digits = load("digits")
    coding = Coding.of(digits, SpikingSection(steps=4))
    labels = packages.predicted(package.graph, coding, coding.codes(digits, digits.x_test), 0)
    assert (labels == (digits.y_test + 1) % 10).mean() > 0.8
    scores = Kept.last.lesson.scores
    assert scores is not None and scores.shape == (2, 1437, 10)
    right = scores.argmax(dim=2) == torch.from_numpy(digits.y_train)
    assert float(right.float().mean()) > 0.9


def test_a_teacher_is_of_images_or_signals() -> None:
    """Frames of an event camera are refused by their shape."""
    x = torch.zeros(2, 9, 128)
    assert teacher.build((128, 9), 6, 4).eval()(x).shape == (2, 6)
    with pytest.raises(RecipeError, match=r"\(30, 34, 34, 2\)"):
        teacher.build((30, 34, 34, 2), 10, 4)


def test_a_module_of_another_framework_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, differing = trained(
        folder(tmp_path, JELLY, pretrain={"epochs": 3, "learning_rate": 5e-3, "percentile": 99.5}),
        monkeypatch,
    )
    assert differing == 0
    assert package.manifest["integer_accuracy"] >= 0.8


def test_the_same_seed_is_the_same_package(tmp_path: Path) -> None:
    told: list[EpochProgress] = []
    at = folder(tmp_path, DENSE, spiking={"steps": 3, "encoder": "poisson"})
    one, other = train(at, progress=told.append), train(at)
    assert one.sha256 == other.sha256
    assert [p.phase for p in told] == ["float", "float", "quantised"]
    assert one.sha256 != train(at, seed=1).sha256


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({"spiking": {"steps": 5, "encoder": "frames"}}, "samples have 8 frames, and the recipe 5"),
        ({"quantise": {"epochs": 0, "bits": 3}}, "quantise.bits"),
        (
            {
                "spiking": {"steps": 8, "encoder": "frames"},
                "pretrain": {"epochs": 1, "learning_rate": 1e-3},
            },
            "without time",
        ),
        ({"delays": {"most": 256}}, "delays.most = 256"),
        ({"coarse": {"factor": 2, "epochs": 1, "learning_rate": 1e-3}}, "[coarse] sums events"),
        ({"teacher": {"epochs": 1, "learning_rate": 1e-3, "gram": 1}}, "gram compares"),
        (
            {
                "teacher": {"epochs": 1, "learning_rate": 1e-3},
                "coarse": {"factor": 2, "epochs": 1, "learning_rate": 1e-3},
            },
            "[teacher] sees samples as they are",
        ),
        (
            {
                "spiking": {"steps": 9, "encoder": "events"},
                "coarse": {"factor": 2, "epochs": 1, "learning_rate": 1e-3},
            },
            "9 steps are no multiple of the factor 2",
        ),
        (
            {
                "spiking": {"steps": 8, "encoder": "events", "batch_norm": True},
                "coarse": {"factor": 2, "epochs": 1, "learning_rate": 1e-3},
            },
            "not with batch_norm",
        ),
    ],
)
def test_what_cannot_be_trained_is_named(
    tmp_path: Path, sections: dict[str, Any], text: str
) -> None:
    with pytest.raises(UsageError) as caught:
        train(folder(tmp_path, DENSE, **sections))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (DENSE.replace("net.linear(x, classes)", "net.linear(x, 9)"), "has 9 outputs, but digits"),
        (DENSE.replace("Builder(shape)", "Builder((1, 7, 7))"), "a network for (1, 7, 7), a step"),
        (DELAYED, "a delay in pretraining"),
        (LATE, "a delay in pretraining"),
    ],
)
def test_a_model_that_does_not_fit_is_named(tmp_path: Path, model: str, text: str) -> None:
    pretrain = {"epochs": 1, "learning_rate": 1e-3} if "delay" in model else None
    with pytest.raises(UsageError) as caught:
        train(folder(tmp_path, model, pretrain=pretrain))
    assert text in str(caught.value)


def test_the_kind_of_a_recipe_is_told_by_its_sections(tmp_path: Path) -> None:
    assert isinstance(load_recipe(folder(tmp_path, DENSE)), SpikingRecipe)
    with pytest.raises(
        RecipeError, match=r"\[train\] and \[quantise\], or \[ridge\], are required"
    ):
        load_recipe(folder(tmp_path, DENSE, train=None))
