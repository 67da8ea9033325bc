"""Committed learning outlives power cuts, failing flash, resets, and other models' storage."""

from __future__ import annotations

import os
import re
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from learned_models import learner_graph, samples
from link_agent import C_TESTS, LEARN, SANITIZE, compile_c
from spikelet.board import Firmware, MachineDied, start
from spikelet.errors import LinkDead
from spikelet.learn import Twin
from spikelet.link import Device, DeviceRefused, LearnAction, SelfTest, Stored
from spikelet.link.messages import Status
from spikelet.package import Package
from spikelet.paths import firmware_dir, sim_dir
from spikelet.run.learner import DeviceLearner, device_learner
from support import need
from targets import ARM_QEMU, RV32_QEMU

Image = Callable[[Package, str], Firmware]
CHECKED = [
    C_TESTS / "test_storage.c",
    C_TESTS / "model_echo.c",
    firmware_dir() / "store" / "spk_storage.c",
    firmware_dir() / "link" / "spk_frame.c",
]
FORMAT_AT = 2
DATA_AT = 64
ROOM = (64 << 20) // 3 // 4096 * 4096  # bytes of a slot of the native board
SLOTS = (0, ROOM)
FACTORY = 2 * ROOM


def checker(folder: Path, compiler: str, *flags: str, sources: list[Path] = CHECKED) -> Path:
    need(compiler)
    return compile_c(folder / "test_storage", sources, [*SANITIZE, LEARN, *flags], compiler)


def run_c(program: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, "7"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_power_cuts_at_every_operation(tmp_path: Path, compiler: str) -> None:
    result = run_c(checker(tmp_path, compiler))
    assert result.returncode == 0, result.stderr
    assert "learned 243 pages 2 written 320" in result.stdout  # 64 and four pieces of 64
    assert "operations 7\n" in result.stdout
    cuts, kept, taken = map(int, re.findall(r"(?:^cuts|kept|taken) (\d+)", result.stdout, re.M))
    assert cuts == kept + taken
    assert kept > 10_000
    assert taken > 300
    factory, pairs = map(int, re.findall(r"(?:factory cuts|pairs) (\d+)", result.stdout))
    assert factory == 3 * 7 * 4 * 6  # kinds of flash, operations, kinds of cuts, what comes next
    assert pairs > 400
    assert "worn 21\n" in result.stdout


def test_a_model_that_does_not_fit_is_refused_before_a_page_is_erased(tmp_path: Path) -> None:
    result = run_c(checker(tmp_path, "gcc", "-DPADDING=400"))
    learned = 43 + 4 * 400
    assert result.stdout == f"missing {64 + -(-learned // 64) * 64 - 768}\n", result.stderr


def test_two_slots_are_there_where_three_do_not_fit(tmp_path: Path) -> None:
    result = run_c(checker(tmp_path, "gcc", "-DPADDING=150"))  # 643 bytes of six pages of 256
    assert result.stdout.endswith("two slots of 768\n"), result.stderr


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("stored.slot == 0 ? 1 : 0;", "0;"),
        ("if (refused >> slot & 1) {", "if (0) {"),
        ("!(refused >> FACTORY & 1)", "1"),
        ("refused = 0;", ""),
        ("if (stored.factory == SPK_STORED_LOADED) {", "if (0) {"),
        ("if (usable && stored.slot == NO_SLOT) {", "if (usable) {"),
        (
            "const uint32_t generation = spk_load32(header + GENERATION_AT);",
            "const uint32_t generation = 1;",
        ),
        ("wear[slot]++;", ""),
        ("other > wear[slot] ? other - 1 : wear[slot]", "wear[slot]"),
        ("is_whole(slot, learned_bytes(), spk_load32(header + DATA_CRC_AT))", "1"),
        ("code || look(slot, again) != SPK_STORED_LOADED", "code"),
        ("(int32_t)(generation - stored.generation) > 0", "0"),
        ("spk_load32(header + HEADER_CRC_AT) != spk_crc32(0, header, HEADER_CRC_AT)", "0"),
        ("header[PACKAGE_AT + i] != spk_model.package_sha256[i]", "0"),
    ],
)
def test_the_checker_finds_a_missing_rule(tmp_path: Path, before: str, after: str) -> None:
    source = firmware_dir() / "store" / "spk_storage.c"
    text = source.read_text()
    assert text.count(before) == 1
    (tmp_path / source.name).write_text(text.replace(before, after))
    sources = [tmp_path / s.name if s == source else s for s in CHECKED]
    unused = ("-Wno-unused-variable", "-Wno-unused-function")
    result = run_c(checker(tmp_path, "gcc", *unused, sources=sources))
    assert result.returncode != 0


@contextmanager
def device_of(image: Firmware, package: Package) -> Iterator[DeviceLearner]:
    with start(image) as machine:
        yield DeviceLearner(package.graph, Device(machine.transport))


@pytest.mark.parametrize("flash_kind", ["bytes", "nor", "ecc"])
def test_the_process_is_killed_at_every_storage_operation(
    images: Image,
    package: Package,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flash_kind: str,
) -> None:
    """The real firmware, the real link: afterwards a new process has the last committed model."""
    image = images(package, "faulty")
    monkeypatch.setenv("SPIKELET_STORAGE_KIND", flash_kind)
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "flash"))
    twin, committed = Twin(package.graph), Twin(package.graph)
    inputs, labels = samples(300)
    with device_of(image, package) as device:
        first = device.device.learn_state()
        assert (first.stored, first.generation, first.steps) == (Stored.EMPTY, 0, 0)
        device.observe(*samples(20, seed=1))
        committed.observe(*samples(20, seed=1))
        committed.commit()
        device.commit()
        state = device.device.learn_state()
    operations = state.erased_pages + state.written_bytes // 64
    assert operations >= 5
    generation, steps = 1, 20
    for number in range(1, operations + 1):
        for kind in ("CUT", "AFTER"):
            monkeypatch.setenv(f"SPIKELET_STORAGE_{kind}", str(number))
            with device_of(image, package) as device:
                part = {"x": inputs["x"][steps : steps + 3]}, labels[steps : steps + 3]
                device.observe(*part)
                twin.restore(committed.state())
                twin.observe(*part)
                twin.commit()
                with pytest.raises(LinkDead):
                    device.commit()
            monkeypatch.delenv(f"SPIKELET_STORAGE_{kind}")
            if (kind, number) == ("AFTER", operations):  # the header was whole
                committed.restore(twin.state())
                generation, steps = generation + 1, steps + 3
            with device_of(image, package) as device:
                assert device.compare(committed) == []
                state = device.device.learn_state()
                assert (state.generation, state.steps) == (generation, steps)
                assert state.stored in (Stored.LOADED, Stored.FALLBACK)
                assert device.device.hello.self_test is SelfTest.PASSED
    assert generation == 2


def test_rules_of_flash_are_held(tmp_path: Path) -> None:
    """A word that is programmed twice, and a bit that is set, end the process that does it."""
    need("gcc")
    program = tmp_path / "rules"
    (tmp_path / "rules.c").write_text(
        '#include "spk_board.h"\n'
        "int main(int count, char **list) {\n"
        "    uint8_t data[64] = {1, 2};\n"
        "    spk_board_storage_erase(0);\n"
        "    spk_board_storage_write(0, data, 64);\n"
        "    data[0] = (uint8_t)(count > 1 ? list[1][0] : 1);\n"
        "    return spk_board_storage_write(count > 2 ? 8 : 0, data, 64);\n}\n"
    )
    sources = [tmp_path / "rules.c", sim_dir() / "faulty_storage" / "storage.c"]
    compile_c(program, sources, SANITIZE, "gcc")
    for kind, words, said in (
        ("nor", [], ""),  # the same bits again
        ("nor", ["\3"], "a write that sets a bit, at byte 0"),
        ("ecc", [], "a word that is programmed twice, at byte 0"),
        ("ecc", ["\3", "aside"], "a write that is not of whole units, at byte 8"),
        ("bytes", ["\3"], ""),
    ):
        result = subprocess.run(
            [program, *words], capture_output=True, text=True, check=False,
            env={**os.environ, "SPIKELET_STORAGE_KIND": kind, "SPIKELET_STORAGE": ""},
        )  # fmt: skip
        assert (result.returncode, said in result.stderr) == (78 if said else 0, True)


def test_a_storage_that_fails_leaves_the_committed_and_the_commit_can_be_repeated(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = images(package, "faulty")
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "flash"))
    monkeypatch.setenv("SPIKELET_STORAGE_ERROR", "3")
    twin = Twin(package.graph)
    with device_of(image, package) as device:
        device.observe(*samples(9))
        twin.observe(*samples(9))
        with pytest.raises(DeviceRefused) as caught:
            device.commit()
        assert (caught.value.status, caught.value.detail) == (Status.STORAGE, 5)
        assert "what was committed before is still there" in str(caught.value)
        assert device.device.learn_state().generation == 0
        twin.commit()  # its operators do not run again
        assert device.commit().generation == 1
        assert device.compare(twin) == []
    with device_of(image, package) as device:
        assert device.compare(twin) == []


def test_what_another_model_or_version_has_stored_is_named_and_not_used(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flash = tmp_path / "flash"
    monkeypatch.setenv("SPIKELET_STORAGE", str(flash))
    mine = images(package, "native")
    other_package = Package(learner_graph(units=13))
    other = images(other_package, "native")
    twin = Twin(package.graph)
    with device_of(mine, package) as device:
        for _ in range(2):  # both slots
            device.observe(*samples(5))
            twin.observe(*samples(5))
            twin.commit()
            device.commit()
    with device_of(other, other_package) as device:
        assert device.device.learn_state().stored is Stored.OTHER_MODEL
        with pytest.raises(DeviceRefused) as caught:
            device.device.learn_state(LearnAction.RESTORE)
        assert caught.value.status == Status.MODEL_MISMATCH
        assert device.compare(Twin(other_package.graph)) == []
    with flash.open("r+b") as file:
        for slot in SLOTS:
            file.seek(slot + FORMAT_AT)
            assert file.read(1) == b"\2"
            file.seek(slot + FORMAT_AT)
            file.write(b"\1")
    with device_of(mine, package) as device:
        assert device.device.learn_state().stored is Stored.OTHER_VERSION
        with pytest.raises(DeviceRefused) as caught:
            device.device.learn_state(LearnAction.RESTORE)
        assert caught.value.status == Status.VERSION
        assert device.compare(Twin(package.graph)) == []
        device.observe(*samples(5))
        assert device.commit().generation == 1  # replaces it
    with device_of(mine, package) as device:
        assert device.device.learn_state(LearnAction.RESTORE).stored is Stored.LOADED


def test_a_damaged_slot_is_told_and_the_other_one_used(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flash = tmp_path / "flash"
    monkeypatch.setenv("SPIKELET_STORAGE", str(flash))
    image = images(package, "native")
    twin = Twin(package.graph)
    with device_of(image, package) as device:
        device.observe(*samples(5))
        twin.observe(*samples(5))
        twin.commit()
        device.commit()
        device.observe(*samples(5))
        device.commit()
    # The second commit went to the second slot.
    for slot, stored in ((SLOTS[1], Stored.FALLBACK), (SLOTS[0], Stored.DAMAGED)):
        with flash.open("r+b") as file:
            file.seek(slot + DATA_AT + 1)
            byte = file.read(1)[0]
            file.seek(slot + DATA_AT + 1)
            file.write(bytes([byte ^ 4]))
        with device_of(image, package) as device:
            state = device.device.learn_state()
            assert state.stored is stored
            assert state.generation == (1 if stored is Stored.FALLBACK else 0)
            if stored is Stored.DAMAGED:
                twin = Twin(package.graph)
                with pytest.raises(DeviceRefused) as caught:
                    device.device.learn_state(LearnAction.RESTORE)
                assert caught.value.status == Status.CHECKSUM
            assert device.compare(twin) == []


def test_values_that_no_commit_can_have_stored_are_not_used(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot whose CRCs are right, with a value beyond its tensor's range; the other one is."""
    flash = tmp_path / "flash"
    monkeypatch.setenv("SPIKELET_STORAGE", str(flash))
    image = images(package, "native")
    with device_of(image, package) as device:
        for _ in range(2):
            device.observe(*samples(5))
            device.commit()
    learned = package.graph.learned
    sizes = [one.tensor.nbytes for one in learned]
    number = next(i for i, one in enumerate(learned) if one.tensor.dtype == "i32" and one.low == 0)
    last = DATA_AT + sum(sizes[: number + 1]) - 1  # byte of its last element's sign
    with flash.open("r+b") as file:
        file.seek(SLOTS[1])
        slot = bytearray(file.read(DATA_AT + sum(sizes)))
        slot[last] = 0x80
        slot[20:24] = zlib.crc32(slot[DATA_AT:]).to_bytes(4, "little")
        slot[60:64] = zlib.crc32(slot[:60]).to_bytes(4, "little")
        file.seek(SLOTS[1])
        file.write(slot)
    twin = Twin(package.graph)
    twin.observe(*samples(5))
    twin.commit()
    with device_of(image, package) as device:
        state = device.device.learn_state()
        assert (state.stored, state.steps, state.generation) == (Stored.FALLBACK, 5, 2)
        assert device.compare(twin) == []
        device.observe(*samples(5))
        twin.observe(*samples(5))
        twin.commit()
        device.commit()
    with device_of(image, package) as device:
        state = device.device.learn_state()
        assert (state.stored, state.steps, state.generation) == (Stored.LOADED, 10, 3)
        assert device.compare(twin) == []


def test_a_storage_that_another_process_holds_is_told(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "flash"))
    image = images(package, "native")
    with (
        device_of(image, package),
        pytest.raises(MachineDied, match=r"storage .*: Resource temporarily unavailable"),
        device_of(image, package),
    ):
        pass
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "no" / "such" / "folder"))
    with (
        pytest.raises(MachineDied, match="No such file or directory"),
        device_of(image, package),
    ):
        pass


EMULATED = [
    ("native", "gcc", "native", ("gcc",)),
    ("virt-rv32", "zig", "unicorn", ("zig", "unicorn")),
    ("virt-rv32f", "gcc", "qemu", RV32_QEMU),
    ("mps2-an386", "gcc", "qemu", ARM_QEMU),
    ("mps2-an500", "gcc", "qemu", ARM_QEMU),
    ("mps3-an547", "gcc", "qemu", ARM_QEMU),
    ("lm3s6965evb", "gcc", "qemu", ARM_QEMU),
    ("mps2-an505", "gcc", "qemu", ARM_QEMU),
    ("netduinoplus2", "gcc", "qemu", ARM_QEMU),
    ("microbit", "zig", "qemu", ("zig", "qemu-system-arm")),
]


@pytest.mark.parametrize(
    ("board", "toolchain", "machine", "tools"), EMULATED, ids=[e[0] for e in EMULATED]
)
def test_what_is_committed_survives_a_reset_on_every_board(
    package: Package, board: str, toolchain: str, machine: str, tools: tuple[str, ...]
) -> None:
    for tool in tools:
        need(tool)
    twin = Twin(package.graph)
    with device_learner(package, board, toolchain=toolchain, machine=machine) as device:
        for generation in (1, 2, 3):
            device.observe(*samples(7, seed=generation))
            twin.observe(*samples(7, seed=generation))
            twin.commit()
            state = device.commit()
            assert (state.generation, state.steps, state.crc) == (
                generation,
                7 * generation,
                twin.crc(),
            )
            assert state.erased_pages == 1  # since the boot
            device.observe(*samples(4))
            device.device.reset()
            assert device.compare(twin) == []
            assert device.device.learn_state().steps == 7 * generation


def test_a_board_without_storage_says_so(package: Package) -> None:
    for tool in RV32_QEMU:
        need(tool)
    with device_learner(package, "sifive-e", toolchain="gcc", machine="qemu") as device:
        device.observe(*samples(5))
        with pytest.raises(DeviceRefused, match="the board has no storage") as caught:
            device.commit()
        assert (caught.value.status, caught.value.detail) == (Status.STORAGE, 0)
        state = device.device.learn_state(LearnAction.RESTORE)
        assert (state.stored, state.slot_bytes) == (Stored.NONE, 0)
        assert device.compare(Twin(package.graph)) == []
