"""A device that learns tests itself when it boots, and falls back where it has changed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from learned_models import learner_graph, samples
from link_agent import C_TESTS, LEARN, SANITIZE, compile_c
from spikelet.board import Firmware, find_board, start
from spikelet.learn import Twin
from spikelet.learn.self_test import digest
from spikelet.learn.self_test import samples as golden_samples
from spikelet.link import Device, DeviceRefused, LearnAction, SelfTest, Source, Stored
from spikelet.link.messages import Status
from spikelet.package import Package
from spikelet.paths import firmware_dir
from spikelet.run import SessionTarget, connect, make, workflow
from spikelet.run.learner import DeviceLearner, device_learner
from store.test_storage import FACTORY, SLOTS, run_c
from support import need

Image = Callable[[Package, str], Firmware]
ROOMS = {"store/spk_storage.c", "link/spk_frame.c", "app/learning.c", "app/self_test.c",
         "app/constants.c"}  # fmt: skip
CHECKED = [
    C_TESTS / "test_self_test.c",
    C_TESTS / "model_echo.c",
    *(firmware_dir() / name for name in sorted(ROOMS)),
]
FLAGS = (*SANITIZE, LEARN, "-DSPK_SELF_TEST")
DIGEST_AT, CRC_AT = 56, 60


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_what_passes_and_what_a_device_falls_back_to(tmp_path: Path, compiler: str) -> None:
    need(compiler)
    result = run_c(compile_c(tmp_path / "test_self_test", CHECKED, FLAGS, compiler))
    assert result.returncode == 0, result.stderr
    assert result.stdout == "cuts 168\n"  # 3 kinds of flash, 7 operations, 4 kinds of cuts, 2 slots


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("learning.c", "cause != SPK_RESET_POWER && cause != SPK_RESET_REQUEST", "0"),
        ("learning.c", "stored->answers.samples != spk_model.self_test->id", "0"),
        ("learning.c", "spk_self_test_digest() == stored->answers.digest", "1"),
        ("learning.c", "spk_self_test_digest() == spk_model.self_test->digest", "1"),
        ("learning.c", "given.digest = spk_self_test_digest();", ""),
        ("self_test.c", "    clear();\n", ""),
        ("learning.c", "        passed = SPK_SELF_TEST_FELL_BACK;\n", ""),
    ],
)
def test_the_checker_finds_a_missing_rule(
    tmp_path: Path, file: str, before: str, after: str
) -> None:
    source = firmware_dir() / "app" / file
    text = source.read_text()
    assert text.count(before) == 1
    (tmp_path / file).write_text(text.replace(before, after))
    sources = [tmp_path / s.name if s == source else s for s in CHECKED]
    unused = ("-Wno-unused-variable", "-Wno-unused-function", "-Wno-unused-but-set-variable")
    result = run_c(compile_c(tmp_path / "mutant", sources, [*FLAGS, *unused]))
    assert result.returncode != 0


def change(flash: Path, slot: int) -> None:
    """What the samples gave is not what the slot says, and its CRCs are right."""
    with flash.open("r+b") as file:
        file.seek(slot)
        header = bytearray(file.read(64))
        header[DIGEST_AT] ^= 1
        header[CRC_AT:64] = zlib.crc32(header[:CRC_AT]).to_bytes(4, "little")
        file.seek(slot)
        file.write(header)


def test_a_device_goes_back_commit_by_commit_and_says_so(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest of what is committed is golden's; a slot that no longer gives it is not used."""
    flash = tmp_path / "flash"
    monkeypatch.setenv("SPIKELET_STORAGE", str(flash))
    image = images(package, "native")
    inputs = golden_samples(package)
    twin, states = Twin(package.graph), [Twin(package.graph).state()]
    with start(image) as machine, Device(machine.transport) as link:
        assert link.hello.self_test is SelfTest.PASSED
        device = DeviceLearner(package.graph, link)
        with pytest.raises(DeviceRefused) as caught:
            device.observe(*samples(1))
            link.learn_state(LearnAction.KEEP_FACTORY)
        assert caught.value.status == Status.BAD_STATE
        device.reset()
        for number in range(3):
            device.observe(*samples(20, seed=number))
            twin.observe(*samples(20, seed=number))
            state = device.commit()
            twin.commit()
            states.append(twin.state())
            assert state.digest == digest(package.graph, twin.learned, inputs)
            assert (state.source, state.worn) == (Source.COMMITTED, 1 + number // 2)
            if number == 0:
                assert link.learn_state(LearnAction.KEEP_FACTORY).factory is Stored.LOADED
        assert len({digest(package.graph, state, inputs) for state in states}) == 4
    expected = (
        (None, SelfTest.PASSED, Source.COMMITTED, 3),
        (SLOTS[0], SelfTest.FELL_BACK, Source.COMMITTED, 2),
        (SLOTS[1], SelfTest.FELL_BACK, Source.FACTORY, 1),
        (FACTORY, SelfTest.FELL_BACK, Source.INITIAL, 0),
    )
    for slot, found, source, number in expected:
        if slot is not None:
            change(flash, slot)
        twin.restore(states[number])
        with start(image) as machine, Device(machine.transport) as link:
            state = link.learn_state()
            assert (link.hello.self_test, state.self_test, state.source) == (found, found, source)
            assert DeviceLearner(package.graph, link).compare(twin) == []


def test_a_session_warns_where_the_self_test_did_not_pass(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gcc")
    real = workflow.self_test

    def wrong(given: Package) -> object:
        made = real(given)
        return dataclasses.replace(made, digest=made.digest ^ 1)

    board = find_board("native")
    for test, name, texts in (
        (wrong, "wrong", ["warning: " + str(SelfTest.FAILED.warning)]),
        (real, "good", []),
    ):
        monkeypatch.setattr(workflow, "self_test", test)
        built = make(package, board, tmp_path / name, toolchain="gcc")
        said: list[str] = []
        with connect(SessionTarget(board, built), package, said.append) as (device, _):
            assert device.hello.self_test is (SelfTest.FAILED if texts else SelfTest.PASSED)
        assert said == texts
    monkeypatch.setattr(workflow, "self_test", wrong)
    with (
        pytest.warns(UserWarning, match="computes other outputs of its golden samples"),
        device_learner(package, "native", toolchain="gcc"),
    ):
        pass


def test_an_image_without_it_says_none_and_its_commits_are_not_tested(
    images: Image, package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("gcc")
    monkeypatch.setenv("SPIKELET_STORAGE", str(tmp_path / "flash"))
    plain = make(package, find_board("native"), tmp_path, toolchain="gcc", tests_itself=False)
    assert plain.facts()["self_test_bytes"] == 0
    with start(plain.firmware) as machine, Device(machine.transport) as link:
        assert link.hello.self_test is SelfTest.NONE
        device = DeviceLearner(package.graph, link)
        device.observe(*samples(9))
        assert device.commit().digest == 0
    with start(images(package, "native")) as machine, Device(machine.transport) as link:
        assert link.hello.self_test is SelfTest.SKIPPED
        state = link.learn_state()
        assert (state.source, state.steps) == (Source.COMMITTED, 9)


def test_the_samples_are_the_packages_first_vectors_or_drawn() -> None:
    graph = learner_graph()
    inputs, _ = samples(5)
    package = Package(graph, {**inputs})
    assert (golden_samples(package)["x"] == inputs["x"][:3]).all()
    drawn = golden_samples(Package(graph))["x"]
    assert drawn.shape == (3, 12)
    assert (drawn == golden_samples(Package(graph))["x"]).all()
    assert drawn.min() < -64
    assert drawn.max() > 64
