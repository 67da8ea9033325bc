"""Every command: its JSON alone on standard output, its exit code, its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from cli_support import (
    CLASSES,
    HIDDEN,
    INPUTS,
    LINK_KEYS,
    RUN_KEYS,
    SAMPLES,
    STEPS,
    Spikelet,
    serve,
    small_package,
    wrong_image,
)
from spikelet.board import USES, boards, find_board
from spikelet.graph import Graph
from spikelet.graph.ops.lif import Lif
from spikelet.package import Package, PackageError
from support import need


@pytest.mark.quick
def test_run_on_native_compares_every_layer(spikelet: Spikelet, package: Path) -> None:
    result = spikelet("run", package, "--board", "native", "--layers", "--json")
    found = result.json
    assert result.code == 0
    assert set(found) >= RUN_KEYS and set(found["link"]) >= LINK_KEYS
    assert (found["samples"], found["correct"], found["mismatches"]) == (SAMPLES, SAMPLES - 3, 0)
    assert found["accuracy"] == pytest.approx(1 - 3 / SAMPLES)
    assert found["weights"] == HIDDEN * INPUTS + CLASSES * HIDDEN
    assert 0.5 < found["weights_exercised"] <= 1
    assert found["package_sha256"] == Package.load(package).sha256
    assert found["instructions_per_inference"] is None
    assert found["link"]["retries"] == 0
    recorded = json.loads(Path("spikelet-sessions/small-native/session.json").read_text())
    assert recorded == found


@pytest.mark.quick
def test_run_on_unicorn_counts_instructions(spikelet: Spikelet, package: Path) -> None:
    need("zig")
    found = spikelet("run", package, "-b", "virt-rv32", "--limit", 5, "--json").json
    assert (found["samples"], found["mismatches"]) == (5, 0)
    # 6 steps of 22 neurons and up to 160 synapses: some thousand instructions.
    assert 1_000 < found["instructions_per_inference"] < 20_000
    assert found["flash_bytes"] < 16_384 and found["ram_bytes"] < 2_560
    assert 0 < found["stack_bytes"] < 4_096


def test_run_shows_a_person_the_same_figures(spikelet: Spikelet, package: Path) -> None:
    result = spikelet("run", package, "--board", "native")
    assert result.code == 0
    assert re.search(r"mismatches +0\s", result.out)
    assert "87.50 %   (21 correct)" in result.out
    assert "0 bad, 0 retries" in result.out


def test_a_wrong_weight_is_named_before_a_sample_is_run(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    loaded = Package.load(package)
    constants = {name: values.copy() for name, values in loaded.graph.constants().items()}
    constants["fc1.weight"][4, 2] ^= 1
    wrong = Graph.from_json(loaded.graph.to_json(), constants)
    with serve(wrong_image(wrong, loaded.sha256, tmp_path / "wrong")) as (url, _):
        result = spikelet("run", package, "-b", "native", "--layers", "--port", url, "--json")
    error = result.json["error"]
    assert (result.code, error["kind"]) == (3, "DeviceDiffers")
    assert "its constants: spk_const_fc1_weight, at byte" in error["what"]
    assert not Path("spikelet-sessions/small-native/session.json").exists()


def test_a_wrong_attribute_is_named_before_a_sample_is_run(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    loaded = Package.load(package)
    graph = loaded.graph
    nodes = [replace(n, leak=29000) if isinstance(n, Lif) else n for n in graph.nodes]
    wrong = Graph(graph.name, graph.steps, graph.inputs, nodes, graph.outputs)
    with serve(wrong_image(wrong, loaded.sha256, tmp_path / "wrong")) as (url, _):
        result = spikelet("run", package, "-b", "native", "--layers", "--port", url, "--json")
    error = result.json["error"]
    assert (result.code, error["kind"]) == (3, "DeviceDiffers")
    assert "its constants: lif1_config.n, at byte" in error["what"]


def test_a_wrong_leak_is_named_and_exits_1(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    """Code that is wrong, beside constants that are right."""
    loaded = Package.load(package)
    image = wrong_image(
        loaded.graph, loaded.sha256, tmp_path / "wrong", "    spk_lif(&lif1_config,",
        "    struct spk_lif wrong = lif1_config;\n    wrong.leak = 29000;\n    spk_lif(&wrong,",
    )  # fmt: skip
    with serve(image) as (url, _):
        result = spikelet("run", package, "-b", "native", "--layers", "--port", url, "--json")
    found = result.json
    assert result.code == 1
    assert found["mismatches"] > SAMPLES / 2
    first = found["differences"][0]
    assert (first["layer"], first["tensor"], first["step"]) == ("lif1", "lif1.membrane", 1)
    assert "differ from golden" in result.err
    report = spikelet("report", "spikelet-sessions/small-native", "--json").json
    page = Path(report["report"]).read_text()
    assert report["mismatches"] == found["mismatches"]
    assert first["text"] in page and "First differences" in page


def test_bench_layers_add_up_to_the_release_image(spikelet: Spikelet, package: Path) -> None:
    need("zig")
    result = spikelet("bench", package, "-b", "virt-rv32", "--limit", 6, "--json")
    found = result.json
    assert result.code == 0 and set(found) >= RUN_KEYS
    assert found["samples"] == 6 and found["mismatches"] == 0
    assert [row["name"] for row in found["layers"]] == [
        "fc1", "lif1", "fc2", "lif2", "counts", "label",
    ]  # fmt: skip
    measured = found["layer_measurement"]
    assert all(row["ticks"] > 0 for row in found["layers"])
    total = sum(row["ticks"] for row in found["layers"]) + measured["rest"]
    assert total == pytest.approx(measured["total"])
    ticks = found["ticks"]
    assert ticks["min"] <= ticks["mean"] <= ticks["max"]
    work = found["neurobench"]
    assert work["dense"] == INPUTS * HIDDEN + STEPS * HIDDEN * CLASSES
    assert 0 < work["effective_acs"] <= STEPS * HIDDEN * CLASSES
    assert work["counted_by"] == "device"
    assert found["instructions_per_effective_synaptic_operation"] == pytest.approx(
        ticks["mean"] / (work["effective_acs"] + work["effective_macs"])
    )
    # MACs are a part of a spiking network's work: no figure by them alone.
    assert found["macs"] == INPUTS * HIDDEN and found["instructions_per_mac"] is None
    assert found["weight_bytes"] + found["code_bytes"] == found["flash_bytes"]


def test_bench_without_a_tick_has_no_figures_by_layer(spikelet: Spikelet, package: Path) -> None:
    found = spikelet("bench", package, "-b", "native", "--limit", 2, "--json").json
    assert found["ticks"]["mean"] is None and found["layer_measurement"] is None
    assert {row["ticks"] for row in found["layers"]} == {None}
    shown = spikelet("bench", package, "-b", "native", "--limit", 2)
    assert shown.code == 0 and "counts no ticks" in shown.out


@pytest.mark.quick
def test_inspect(spikelet: Spikelet, package: Path) -> None:
    found = spikelet("inspect", package, "--json").json
    assert found["package_sha256"] == Package.load(package).sha256
    assert found["steps"] == STEPS and found["samples"] == SAMPLES
    assert found["inputs"][0]["shape"] == [INPUTS]
    rows = {row["name"]: row for row in found["layers"]}
    assert rows["fc2"]["synaptic_ops"] == STEPS * HIDDEN * CLASSES
    assert rows["fc1"]["macs"] == INPUTS * HIDDEN
    assert found["arena_bytes"] >= found["arena_bound_bytes"] > 0
    graph = Package.load(package).graph
    assert [s["ram_bytes"] for s in found["states"]] == [
        graph.tensors[f"lif{i}.membrane"].nbytes for i in (1, 2)
    ]
    assert {s["leak_bits"] for s in found["states"]} == {15}
    shown = spikelet("inspect", package)
    assert "state of the neurons" in shown.out and "against the float module" not in shown.out
    assert "87.50 %" in shown.out and "fc1" in shown.out and found["package_sha256"] in shown.out


def test_inspect_shows_how_far_spikes_are_from_the_module(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    made = Package.load(package)
    made.manifest["spike_agreement"] = [
        {"layer": "lif1", "spikes": 400, "differing": 9, "share": 0.0225, "weights_share": 0.02},
        {"layer": "lif2", "share": 0.0123, "weights_share": 0.0111},
    ]
    made.save(tmp_path / "compared.spk")
    shown = spikelet("inspect", tmp_path / "compared.spk").out
    for text in ("against the float module", "400", "2.25 %", "2.00 %", "scores", "1.23 %"):
        assert text in shown
    made.manifest["spike_agreement"][0]["share"] = "2 %"
    with pytest.raises(PackageError, match="spike_agreement"):
        made.check()


def test_build_gives_the_sizes(spikelet: Spikelet, package: Path) -> None:
    need("zig")
    found = spikelet("build", package, "-b", "virt-rv32", "-o", "made", "--json").json
    assert Path(found["elf"]).is_file() and not found["trace"]
    memory = find_board("virt-rv32").memory
    assert memory is not None and found["stack_reserved_bytes"] == memory.stack_bytes
    in_flash = [s["bytes"] for s in found["sections"] if s["region"] in ("flash", "flash+ram")]
    assert found["flash_bytes"] == sum(in_flash)
    assert found["symbols"][0]["bytes"] >= found["symbols"][-1]["bytes"] > 0
    trace = spikelet("build", package, "-b", "virt-rv32", "--layers", "--json").json
    assert trace["trace"] and trace["flash_bytes"] > found["flash_bytes"]
    assert "spikelet-build/small-virt-rv32-trace" in trace["elf"]


def test_boards_models_doctor(spikelet: Spikelet) -> None:
    listed = spikelet("boards", "--json")
    assert [b["name"] for b in listed.json["boards"]] == list(boards()) and listed.code == 0
    microbit = next(b for b in listed.json["boards"] if b["name"] == "microbit")
    facts = ("Cortex-M0", 16, 240 * 1024, 16 * 1024)
    assert tuple(microbit[key] for key in ("core", "mhz", "flash_bytes", "ram_bytes")) == facts
    models = spikelet("models", "--json").json["models"]
    kinds = {m["name"]: m["kind"] for m in models}
    assert kinds["digits_snn"] == "spiking" and kinds["fashion_cnn"] == "int8"
    checks = spikelet("doctor", "--json")
    good = all(c["ok"] for c in checks.json["checks"] if c["use"] == "run")
    assert checks.json["ok"] is good and checks.code == (0 if good else 2)
    assert all(c["ok"] or c["fix"] for c in checks.json["checks"])
    for command in ("boards", "models", "doctor"):
        assert spikelet(command).out


@pytest.mark.parametrize(
    ("missing", "use"),
    [("unicorn", "run"), ("torch", "train"), ("snntorch", "train"), ("sklearn", "train"),
     ("tflite", "import"), ("onnx", "import"), ("h5py", "nir"), ("nir", "nir")],
)  # fmt: skip
def test_doctor_asks_for_what_is_wanted(
    spikelet: Spikelet, monkeypatch: pytest.MonkeyPatch, missing: str, use: str
) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == missing else find(name, *a)
    )
    result = spikelet("doctor", use, "--json")
    assert result.code == 2 and result.json["ok"] is False
    assert [u for u, ready in result.json["uses"].items() if not ready and u != "flash"] == [use]
    checks = [c for c in result.json["checks"] if not c["ok"] and c["use"] == use]
    assert len(checks) == 1 and "-m pip install" in checks[0]["fix"]
    assert f"{use}: missing {checks[0]['name']}" in spikelet("doctor", use).out
    others = [u for u in USES if u not in (use, "flash")]  # flashing tools need not be here
    assert spikelet("doctor", *others).code == 0


def test_doctor_of_an_unknown_use(spikelet: Spikelet) -> None:
    result = spikelet("doctor", "fly", "--json")
    assert result.code == 2
    assert "run, import, nir, sign, train, flash, test" in result.json["error"]["next"]


def test_demo_with_a_package(spikelet: Spikelet, package: Path) -> None:
    need("zig")
    result = spikelet("demo", "--package", package, "-o", "out", "--json")
    found = result.json
    assert result.code == 0 and set(found) >= RUN_KEYS
    assert (found["mismatches_layers"], found["mismatches_release"]) == (0, 0)
    assert found["samples"] == SAMPLES and found["instructions_per_inference"] > 0
    assert [line.split()[0] for line in result.err.splitlines() if " s  " in line] == [
        "build", "check", "measure", "report",
    ]  # fmt: skip
    page = Path(found["report"]).read_text()
    assert found["package_sha256"] in page
    assert f"{found['flash_bytes']:,}".replace(",", "\u202f") in page
    assert "Spike raster" in page and "Membrane traces" in page


def test_user_data_with_and_without_labels(spikelet: Spikelet, package: Path) -> None:
    import numpy as np

    vectors = small_package().vectors
    np.savez("codes.npz", x=vectors["x"][:6], y=vectors["y"][:6])
    np.savez("real.npz", x=(vectors["x"][:6] / 255).astype(np.float32))
    codes = spikelet("run", package, "-b", "native", "--data", "codes.npz", "--json").json
    assert (codes["samples"], codes["correct"], codes["mismatches"]) == (6, 3, 0)
    real = spikelet("run", package, "-b", "native", "--data", "real.npz", "--json").json
    assert real["samples"] == 6 and real["accuracy"] is None and real["correct"] is None
    page = Path(spikelet("report", "spikelet-sessions/small-native", "--json").json["report"])
    assert "The samples have no labels." in page.read_text()
