"""Deltas: values of an adapter in a file, in a device's RAM, and in a C library."""

from __future__ import annotations

import dataclasses
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import graphs
from adapter_graphs import drawn_values
from emulated_call import STRINGS, Core
from int8_classifier import classifier
from link_agent import compilers
from spikelet.graph import Array, GraphError
from spikelet.graph.adapted import BASE, Adapter, with_places
from spikelet.graph.target import ANY, Target
from spikelet.learn.delta import Delta, prepared
from spikelet.learn.state import WORDS, StateError, read_values, write_values
from spikelet.link import DeviceRefused, LearnAction
from spikelet.package import Package
from spikelet.paths import models_dir
from spikelet.run import SessionFolder, SessionTarget, make, package_stream, run
from spikelet.run.exported import export_c
from spikelet.run.learner import device_learner
from support import need
from targets import TARGETS, board_of

SIGNS = Adapter("low_rank", 3, 1)
GAINS = Adapter("scale_bias")
FORMS = [
    SIGNS,
    Adapter("low_rank", 2, 8, head=True),
    Adapter("head"),
    Adapter("depthwise", 0, 8, head=True),
    Adapter("sparse", 5, 8),
    Adapter("ladder", 4),
    GAINS,
    Adapter("scale_bias", head=True),
    Adapter("low_rank", head=True, ranks=(3, 0, 2)),
]
SWAPS = 2000


def base() -> Package:
    graph = classifier()
    inputs = graphs.random_inputs(graph, 6, np.random.default_rng(0))
    return Package(graph, inputs, {}).with_golden()


def drawn(package: Package, form: Adapter, seed: int) -> Delta:
    places = with_places(package.graph, form)
    return Delta.of(package.graph, form, drawn_values(places, np.random.default_rng(seed), None))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_places_alone_compute_what_the_base_does(form: Adapter) -> None:
    package = base()
    assert all(
        np.array_equal(prepared(package, form).with_golden().vectors[name], values)
        for name, values in package.vectors.items()
    )


def test_only_a_graph_that_does_not_learn_has_places() -> None:
    places = with_places(classifier(), SIGNS)
    with pytest.raises(GraphError, match="learns"):
        with_places(places, SIGNS)
    for kind, rank, bits, head in (("low_rank", 0, 8, False), ("head", 3, 8, False),
                                   ("head", 0, 1, False), ("low_rank", 129, 1, False),
                                   ("ladder", 4, 8, True), ("depthwise", 2, 8, False)):  # fmt: skip
        with pytest.raises(GraphError):
            Adapter(kind, rank, bits, head)  # type: ignore[arg-type]
    for kind, rank, ranks in (("low_rank", 2, (2, 2)), ("low_rank", 0, (0, 0)), ("head", 0, (1,)),
                              ("low_rank", 0, (129,)), ("ladder", 0, (4, 4))):  # fmt: skip
        with pytest.raises(GraphError):
            Adapter(kind, rank, ranks=ranks)  # type: ignore[arg-type]
    with pytest.raises(GraphError, match="2 ranks, expected 4: of first, wide, point, head"):
        with_places(classifier(), Adapter("low_rank", ranks=(1, 1)))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_file_gives_back_what_was_saved(form: Adapter, tmp_path: Path) -> None:
    package = base()
    delta = drawn(package, form, 1)
    delta.save(tmp_path / "a.spkd")
    again = Delta.load(tmp_path / "a.spkd", package)
    assert (again.sha256, again.adapter) == (delta.sha256, form)
    assert Delta.load(tmp_path / "a.spkd", prepared(package, form)).sha256 == delta.sha256
    sizes = sum(values.nbytes for values in delta.tensors.values())
    assert sum(delta.nbytes.values()) == sizes
    assert (delta.nbytes["head"] > 0) == (form.head or form.kind in ("head", "ladder"))


def test_unfit_files_are_refused_by_name(tmp_path: Path) -> None:
    package, path = base(), tmp_path / "a.spkd"
    delta = drawn(package, SIGNS, 1)
    first = package.graph.nodes[0]
    other_node = dataclasses.replace(first, bias=first.bias + np.int32(1))  # type: ignore[attr-defined]
    nodes = [other_node, *package.graph.nodes[1:]]
    other = Package(dataclasses.replace(package.graph, nodes=nodes), package.inputs, {})
    delta.save(path)
    with pytest.raises(StateError, match="is for base"):
        Delta.load(path, other)
    with pytest.raises(StateError, match="is for base"):
        Delta.load(path, prepared(other, SIGNS))
    with pytest.raises(StateError, match="is for rank 3, package classifier has 4"):
        Delta.load(path, prepared(package, Adapter("low_rank", 4, 1)))
    with pytest.raises(StateError, match="is for bits 1, package classifier has 8"):
        Delta.load(path, prepared(package, Adapter("low_rank", 3, 8)))
    layers = drawn(package, Adapter("low_rank", 0, 1, False, (3, 0, 1, 1)), 1)
    with pytest.raises(StateError, match=r"is for ranks \[3, 0, 1, 1\], package .* has \[1, 0, 1"):
        layers.places(prepared(package, Adapter("low_rank", 0, 1, False, (1, 0, 1, 1))))
    with pytest.raises(StateError, match="is for kind low_rank, package classifier has scale_bias"):
        Delta.load(path, prepared(package, GAINS))
    whole = path.read_bytes()
    for cut in (0, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(StateError, match=r"a\.spkd"):
            Delta.load(path, package)
    delta.save(path)
    tensors, about = read_values(path, {"adapter": dict}, WORDS)
    name = next(n for n in tensors if n.endswith("down"))
    for changed, values, match in (
        ({**about, "schema": 1}, tensors, "schema 1, not 2"),
        ({**about, "adapter": {**about["adapter"], "rank": 200}}, tensors, "rank"),
        ({**about, "adapter": {"kind": "of tomorrow"}}, tensors, "kind"),
        (about, {**tensors, name: tensors[name][:1]}, name),
        (about, {**tensors, BASE: tensors[BASE] + np.int32(1)}, BASE),
        (about, {n: v for n, v in tensors.items() if n != name}, "holds"),
    ):
        write_values(path, changed, values)
        with pytest.raises(StateError, match=match):
            Delta.load(path, package)


def scores(package: Package, delta: Delta) -> Array:
    put = delta.put(package)
    return put.graph.run(put.inputs).outputs[put.graph.outputs[0]]


def test_thousands_of_swaps_leave_the_base_as_it_was(tmp_path: Path) -> None:
    package, form = base(), FORMS[1]
    output = package.graph.outputs[0]
    deltas = [drawn(package, form, seed) for seed in (1, 2)]
    wanted = [scores(package, delta) for delta in deltas]
    assert not np.array_equal(*wanted)
    with device_learner(prepared(package, form), folder=tmp_path) as device:
        size = device.device.hello.constant_bytes
        before, state = device.device.constants_crc(1, 0, size), device.device.learn_state()
        for swap in range(SWAPS):
            device.restore(deltas[swap % 2].tensors)
            if swap % 250 < 2:
                made = device.predict(package.inputs)[output]
                assert np.array_equal(made, wanted[swap % 2]), swap
        after = device.device.learn_state()
        assert device.device.constants_crc(1, 0, size) == before
        assert (after.generation, after.written_bytes) == (state.generation, state.written_bytes)
        device.reset()
        again = device.predict(package.inputs)[output]
        assert np.array_equal(again, package.vectors[f"golden.{output}"])


@pytest.mark.parametrize("form", [SIGNS, GAINS], ids=str)
def test_a_device_refuses_what_is_sent_all_the_same(form: Adapter, tmp_path: Path) -> None:
    package = base()
    delta, output = drawn(package, form, 1), package.graph.outputs[0]
    golden = package.vectors[f"golden.{output}"]
    others = [drawn(package, Adapter("low_rank", 3, 8), 1).tensors[BASE], 0 * delta.tensors[BASE]]
    with device_learner(prepared(package, form), folder=tmp_path) as device:
        for tag in others:
            device.restore(delta.tensors)
            with pytest.raises(DeviceRefused, match="RANGE"):
                device.restore({**delta.tensors, BASE: tag})
            assert np.array_equal(device.predict(package.inputs)[output], golden)


def test_a_device_refuses_half_a_delta(tmp_path: Path) -> None:
    package = base()
    delta, output = drawn(package, SIGNS, 1), package.graph.outputs[0]
    wire = delta.wire(package)
    crc, cut = zlib.crc32(b"".join(wire.values())), dict(list(wire.items())[:-2])
    with device_learner(prepared(package, SIGNS), folder=tmp_path) as device:
        link = device.device
        link.put_many(cut)
        with pytest.raises(DeviceRefused, match="CHECKSUM"):
            link.learn_state(LearnAction.ACCEPT, crc)
        again = device.predict(package.inputs)[output]
        assert np.array_equal(again, package.vectors[f"golden.{output}"])


@pytest.mark.parametrize(("target", "form"), [
    ("rv32-gcc-qemu", FORMS[1]), *(("native-gcc-sanitized", form) for form in FORMS[3:]),
], ids=str)  # fmt: skip
def test_a_run_with_a_delta_compares_every_layer(
    target: str, form: Adapter, tmp_path: Path
) -> None:
    package = base()
    delta, placed = drawn(package, form, 3), prepared(package, form)
    name, toolchain, machine, sanitize, _ = TARGETS[target]
    board = board_of(name)
    built = make(
        placed, board, tmp_path / "build", toolchain=toolchain, trace=True, sanitize=sanitize
    )
    summary, _ = run(
        placed, SessionTarget(board, built, machine, delta=delta), package_stream(placed),
        SessionFolder(tmp_path / "session"), layers=True,
    )  # fmt: skip
    assert (summary["mismatches"], summary["samples"]) == (0, 6)
    assert summary["delta_sha256"] == delta.sha256


MAIN = """
#include <stdio.h>
#include <string.h>
#include "classifier.h"

int main(void) {
    static uint8_t state[CLASSIFIER_STATE_BYTES];
    classifier_init();
    while (fread(state, 1, sizeof state, stdin) == sizeof state) {
        static uint8_t sample[CLASSIFIER_INPUT_X_BYTES];
        printf("%d", classifier_restore(state));
        if (fread(sample, 1, sizeof sample, stdin) != sizeof sample) return 1;
        memcpy(classifier_input(0), sample, sizeof sample);
        classifier_invoke();
        for (uint32_t i = 0; i < CLASSIFIER_OUTPUT_BYTES_; i++) {
            printf(" %d", ((const int8_t *)classifier_output(0))[i]);
        }
        printf("\\n");
    }
    return 0;
}
"""


@pytest.mark.parametrize("form", [SIGNS, GAINS], ids=str)
def test_the_c_library_swaps_with_one_call(form: Adapter, tmp_path: Path) -> None:
    package = base()
    placed, folder = prepared(package, form), tmp_path / "library"
    export_c(placed, folder, ANY, name="classifier")
    output = package.graph.outputs[0]
    size = package.graph.tensors[output].nbytes
    main = tmp_path / "main.c"
    main.write_text(MAIN.replace("CLASSIFIER_OUTPUT_BYTES_", str(size)))
    sources = [p for p in folder.rglob("*.c") if "example" not in p.parts]
    exe = tmp_path / "main"
    command = next(iter(compilers().values()))
    subprocess.run(
        [*command, "-O1", f"-I{folder / 'include'}", *map(str, sources), str(main), "-o", str(exe)],
        check=True,
    )
    deltas = [drawn(package, form, seed) for seed in (1, 2)]
    sample = package.inputs["x"][0]
    states = [delta.state(package) for delta in deltas]
    states.append(b"\1" + states[0][1:])  # of another package
    given = b"".join(state + sample.tobytes() for state in states)
    said = subprocess.run([exe], input=given, capture_output=True, check=True).stdout.decode()
    wanted = [scores(package, delta)[0].ravel().tolist() for delta in deltas]
    assert [list(map(int, line.split())) for line in said.splitlines()] == [
        [0, *wanted[0]], [0, *wanted[1]], [-3, *wanted[1]]
    ]  # fmt: skip


SWAP_INSTRUCTIONS = 64_000  # a millisecond at 64 MHz


def test_a_swap_takes_less_than_a_millisecond(tmp_path: Path) -> None:
    """Instructions of `NAME_restore` on RV32IMAC with a delta of a kilobyte, counted by unicorn."""
    for tool in ("riscv64-unknown-elf-gcc", "unicorn"):
        need(tool)
    package = Package.load(models_dir() / "fashion_cnn" / "fashion_cnn.spk")
    form, elf = Adapter("low_rank", 2, 1, head=True), tmp_path / "fashion.elf"
    delta = drawn(package, form, 1)
    export_c(prepared(package, form), tmp_path, Target.parse("rv32imac"), name="fashion")
    (tmp_path / "strings.c").write_text(STRINGS)
    sources = [str(p) for p in tmp_path.rglob("*.c") if "example" not in p.parts]
    subprocess.run(
        ["riscv64-unknown-elf-gcc", "-march=rv32imac_zicsr", "-mabi=ilp32", "-O2", "-ffreestanding",
         "-nostdlib", "-Wl,-e,fashion_restore", "-Wl,-Ttext=0x10000", "-Wl,--no-warn-rwx-segments",
         f"-I{tmp_path / 'include'}", *sources, "-o", str(elf)],
        check=True,
    )  # fmt: skip
    answer = Core(elf, "rv32imac").call("fashion_restore", delta.state(package), 0)
    assert sum(delta.nbytes.values()) > 1000
    assert answer.status == 0 and 1000 < answer.instructions < SWAP_INSTRUCTIONS
