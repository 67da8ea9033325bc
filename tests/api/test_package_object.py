"""What a package object says of samples: in the units and axes of the source, and to the bit."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import spikelet
from cli_support import small_package
from spikelet.api import Package
from spikelet.errors import Disagreement, UsageError
from spikelet.run import SessionFolder
from spikelet.run.compare_sides import compare_sides, read_side
from spikelet.run.reals import called
from spikelet.run.recorded import Session
from support import need


@pytest.fixture(scope="module")
def package() -> Package:
    return Package.of(small_package())


@pytest.fixture
def torch() -> Any:
    need("torch")
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)  # small matrices, busy cores
    return torch


def real(package: Package) -> Any:
    return package.vectors["x"] / np.float32(255)


def test_the_api_package_is_the_package_of_the_file(package: Package, tmp_path: Path) -> None:
    plain = small_package()
    assert package.sha256 == plain.sha256 and Package.of(package) is package
    plain.save(tmp_path / "small.spk")
    again = spikelet.load(tmp_path / "small.spk")
    assert type(again) is Package and again.sha256 == plain.sha256
    assert type(package.with_golden()) is Package


def test_real_values_and_codes_mean_the_same(package: Package) -> None:
    by_codes, by_values = package.predict(package.vectors["x"]), package.predict(real(package))
    assert np.array_equal(by_codes.outputs["counts"], by_values.outputs["counts"])
    assert np.array_equal(by_codes.label, package.vectors["golden.label"][:, 0])
    assert by_codes.outputs["counts"].dtype == np.int16  # spikes are counted, not scaled


def test_images_come_back_in_the_order_of_the_module(torch: Any) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3, padding=1), torch.nn.Conv2d(5, 2, 1))
    x = torch.randn(32, 3, 6, 4)
    made = spikelet.export(net, x[:1], x, name="images").predict(x)
    (scores,) = made.outputs.values()
    wanted = net(x).detach().numpy()
    assert scores.shape == wanted.shape == (32, 2, 6, 4)
    assert np.abs(scores - wanted).max() < 0.03 * np.abs(wanted).max()


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_regression_has_errors_and_no_classes(torch: Any, tmp_path: Path, outputs: int) -> None:
    net, x = torch.nn.Linear(3, outputs), torch.randn(32, 3)
    y = net(x).detach().numpy() + np.float32(0.5)
    spikelet.export(net, x[:1], x, name="line", labels=y, out=tmp_path / "line.spk")
    package = spikelet.load(tmp_path / "line.spk")
    assert package.manifest["float_error"] == pytest.approx({"mae": 0.5, "rmse": 0.5})
    assert "integer_accuracy" not in package.manifest
    found = package.predict(x)
    assert found.label is None and len(found) == 32
    error = next(iter(found.outputs.values())) - y
    wanted = {"mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean())}
    session = package.run("native", session=tmp_path / "session")
    assert session.mismatches == 0 and session.label is None and session.accuracy is None
    assert session.error == pytest.approx(wanted, rel=1e-5)
    assert session.error == pytest.approx(package.manifest["integer_error"], rel=1e-5)
    page = session.report().path.read_text(encoding="utf-8")
    assert f"MAE {wanted['mae']:.4g}" in page and "Confusion" not in page
    told = compare_sides(read_side(session.path), read_side(session.path), [])
    assert told["figures"]["mae"]["a"] == pytest.approx(wanted["mae"], rel=1e-5)


@pytest.mark.parametrize("shape", [(32,), (32, 1)])
def test_integers_are_targets_where_the_output_is_one_real_number(
    torch: Any, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    net, x = torch.nn.Linear(3, 1), torch.randn(32, 3)
    y = np.arange(32).reshape(shape) % 3
    package = spikelet.export(net, x[:1], x, name="line", labels=y)
    assert package.labels is None and package.targets is not None
    assert package.manifest["integer_error"]["mae"] > 0.1
    session = package.run("native", x, y, session=tmp_path / "session")
    assert session.accuracy is None
    assert session.error == pytest.approx(package.manifest["integer_error"], rel=1e-5)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(3)[np.arange(32) % 3], "one-hot labels"),
        (np.zeros((32, 2)), "for each output"),
        (np.zeros((5, 3)), "5 targets for 32 samples"),
        (np.full((32, 3), np.nan), "NaN"),
        (np.zeros(32), "expected integers"),
    ],
)
def test_targets_that_do_not_fit_are_refused(torch: Any, labels: Any, said: str) -> None:
    net, x = torch.nn.Linear(3, 3), torch.randn(32, 3)
    with pytest.raises(UsageError, match=said):
        spikelet.export(net, x[:1], x, labels=labels)


def test_several_inputs_are_given_by_name(torch: Any) -> None:
    class Two(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = torch.nn.Linear(3, 4), torch.nn.Linear(2, 4)

        def forward(self, a: Any, b: Any) -> Any:
            return self.left(a) + self.right(b)

    net, given = Two(), {"a": torch.randn(40, 3), "b": torch.randn(40, 2)}
    package = spikelet.export(net, (given["a"][:1], given["b"][:1]), given, name="two")
    wanted = net(**given).detach().numpy()
    (scores,) = package.predict(given).outputs.values()
    assert np.abs(scores - wanted).max() < 0.05 * np.abs(wanted).max()


def test_scores_of_membranes_are_in_the_units_of_the_module(torch: Any) -> None:
    need("snntorch")
    import snntorch

    last = snntorch.Leaky(beta=0.9, init_hidden=True, output=True, reset_mechanism="none")
    net = torch.nn.Sequential(torch.nn.Linear(6, 3), last)
    x = torch.rand(24, 6)
    options = spikelet.Spiking(steps=12, readout="membrane")
    made = spikelet.export(net, x[:1], x, name="membranes", options=options).predict(x)
    last.reset_mem()
    for _ in range(12):
        _, membrane = net(x)
    wanted = membrane.detach().numpy()
    assert np.abs(made.outputs["lif1"] - wanted).max() < 0.03 * np.abs(wanted).max()


def test_direct_current_holds_the_range_of_the_calibration() -> None:
    need("snntorch")
    encoder = spikelet.Spiking(steps=1).encoding(np.array([[-1.0, 3.0]]))
    assert (round(encoder.scale * 255, 9), encoder.zero_point) == (4.0, 64)
    rate, poisson = (spikelet.Spiking(steps=1, encoder=e) for e in ("rate", "poisson"))
    assert rate.encoding(np.zeros((1, 1))) == poisson.encoding(np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"encoder": "x"}, "direct, rate, poisson, latency"),
        ({"readout": "spikes"}, "spike_count, membrane, sum"),
        ({"state": "wide"}, "auto, narrow, exact"),
        ({"fraction_bits": 16}, "0 to 15"),
    ],
)
def test_options_of_spiking_networks_are_checked_at_once(options: Any, said: str) -> None:
    need("snntorch")
    with pytest.raises(UsageError, match=said):
        spikelet.Spiking(**{"steps": 3, **options})


def test_spike_trains_are_told_from_samples(torch: Any) -> None:
    need("snntorch")
    import snntorch

    net = torch.nn.Sequential(torch.nn.Linear(6, 3), snntorch.Leaky(beta=0.9))
    trains = (torch.rand(12, 24, 6) > 0.5).float()
    with pytest.raises(UsageError, match="12 steps of spikes"):
        spikelet.export(net, trains[:1], trains, options=spikelet.Spiking(steps=12))


def test_a_spiking_network_is_told_apart(torch: Any) -> None:
    need("snntorch")
    import snntorch

    net, x = torch.nn.Sequential(torch.nn.Linear(2, 2), snntorch.Leaky(beta=0.5)), torch.rand(20, 2)
    with pytest.raises(UsageError, match=r"spikelet\.Spiking\(steps"):
        spikelet.export(net, x[:1], x)
    with pytest.raises(UsageError, match="options are a dict"):
        spikelet.export(net, x[:1], x, options={"steps": 3})  # type: ignore[arg-type]


def test_class_names_go_in_and_come_out(package: Package) -> None:
    names = ["a", "b", "c", "d"]
    named = package.name_classes(names)
    assert named.sha256 != package.sha256
    label = named.predict(real(named)).label
    assert label is not None
    assert [names.index(n) for n in label] == list(package.vectors["golden.label"][:, 0])
    with pytest.raises(UsageError, match="classes 0 to 3"):
        package.name_classes(["a"])
    with pytest.raises(UsageError, match="2 classes are called b"):
        package.name_classes(["a", "b", "b", "d"])
    # A learner may add classes that have no name.
    assert list(called(named.manifest, np.array([3, 4, -1]))) == ["d", "4", "-1"]


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros((2, 13), np.float32), "expects"),
        (np.full((2, 12), np.nan, np.float32), "NaN"),
        (np.full((2, 12), 7.0), "spans 0 to 1"),
        ({"y": np.zeros((2, 12))}, "expected x"),
    ],
)
def test_samples_that_do_not_fit(package: Package, x: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        package.predict(x)


def test_a_disagreement_is_raised_when_asked_for() -> None:
    differences = [{"text": "sample 0, layer fc1"}]
    result = {"mismatches": 2, "differences": differences, "complete": True}
    with pytest.raises(Disagreement, match=r"2 elements .*sample 0, layer fc1"):
        Session(SessionFolder(Path("none")), result).check()


def test_the_html_is_whole_and_the_text_narrow(package: Package) -> None:
    page, text = package._repr_html_(), repr(package.summary())
    assert page.count("<circle") == 7 + 2 and page.count("<tr>") == 1 + 6 + 1
    for tag in ("svg", "table", "details", "tr", "td"):
        assert page.count(f"<{tag}") == page.count(f"</{tag}>")
    assert max(map(len, text.splitlines())) < 100 and "an inference" in text


@contextmanager
def server(elf: Path) -> Iterator[str]:
    """A native image behind a TCP port: each connection starts it anew."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        started: list[subprocess.Popen[bytes]] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    wire = connection.fileno()
                    started.append(subprocess.Popen([elf], stdin=wire, stdout=wire))

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield f"socket://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            for process in started:
                process.kill()
                process.wait()


def test_a_port_alone_is_enough(package: Package, tmp_path: Path) -> None:
    need("zig")
    image = package.build("native", tmp_path)
    with server(image.firmware.elf) as port, spikelet.connect(port, package) as device:
        made = device.infer(real(package)[:4])
        assert np.array_equal(made.label, package.predict(real(package)[:4]).label)
        assert port.removeprefix("socket://") in repr(device)
        with pytest.raises(UsageError, match="does not learn"):
            device.learn(real(package)[:1], [0])
        assert dict(device.state) == {}


def test_state_is_read_and_written_as_a_mapping(package: Package) -> None:
    need("zig")
    x, y = real(package), package.vectors["y"]
    learner = package.with_learner("nearest_mean", x, y)
    with spikelet.connect("native", learner) as device:
        device.learn(x, y)
        kept, before = device.state.read(), device.infer(x).label
        assert set(device.state) == set(kept) and len(device.state) == len(kept)
        device.reset()
        assert not device.state["nearest_mean.count"].any()
        device.state.update(kept)
        assert np.array_equal(device.infer(x).label, before)
        device.state["nearest_mean.count"] = np.zeros_like(kept["nearest_mean.count"])
        assert np.array_equal(device.state["nearest_mean.sum"], kept["nearest_mean.sum"])
        with pytest.raises(UsageError, match="expected int32"):
            device.state["nearest_mean.count"] = np.zeros(3)
        with pytest.raises(TypeError, match="reset"):
            del device.state["nearest_mean.count"]


HEAVY = {"numpy", "pydantic", "torch", "onnx", "tflite", "matplotlib", "rich", "jinja2", "serial"}


def python(script: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.quick
def test_import_loads_nothing_heavy() -> None:
    loaded = python("import sys, spikelet; dir(spikelet); print(*sys.modules)").split()
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


@pytest.mark.parametrize("first", ["", "import spikelet.train.data; ", "import spikelet.api; "])
def test_train_is_a_function_whatever_was_imported_first(first: str) -> None:
    said = python(
        f"{first}import spikelet; from spikelet.train import train as room; "
        "print(type(spikelet.train).__name__, spikelet.train.__module__, room.__module__)"
    )
    assert said.split() == ["function", "spikelet.api.calls", "spikelet.train"]


def test_without_torch_the_extra_is_named() -> None:
    said = python(
        "import sys; sys.modules['torch'] = None\n"
        "import spikelet\n"
        "from spikelet.errors import UsageError\n"
        "for name in ('export', 'Spiking'):\n"
        "    try: getattr(spikelet, name)\n"
        "    except UsageError as e: print(e.next)\n"
        "print(spikelet.load.__name__)"
    )
    assert said.splitlines() == ["pip install 'spikelet[train]'"] * 2 + ["load"]
