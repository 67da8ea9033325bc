"""A session's folder: one writer, nothing lost, nothing read that was damaged, no mix of runs."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import SAMPLES, serve, small_package
from spikelet.board import find_board
from spikelet.errors import LinkDead, UsageError
from spikelet.package import PackageError
from spikelet.run import (
    BuiltImage,
    Sample,
    SampleProgress,
    SessionFolder,
    SessionTarget,
    Watch,
    make,
    package_stream,
    run,
)

TOTAL = 5
HEAD: dict[str, Any] = {
    "package_sha256": "aa", "board": "b", "layers": False, "total": TOTAL, "data": "here.npz",
    "data_sha256": "dd", "toolchain": "zig", "image_sha256": "ee", "machine": "qemu",
    "unique_id": None,
}  # fmt: skip


def sample(index: int) -> Sample:
    return Sample(index, label=1, golden=1, device=1, mismatches=0, ticks=100, saturations=0)


def record_session(path: Path, count: int, complete: bool = False) -> SessionFolder:
    folder = SessionFolder(path)
    folder.begin(HEAD, resume=False)
    for index in range(count):
        folder.add(sample(index))
    if complete:
        folder.finish({**HEAD, "complete": True})
    return folder


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path) -> None:
    first, second = SessionFolder(tmp_path / "s"), SessionFolder(tmp_path / "s")
    with first.lock(), first.lock():
        with pytest.raises(UsageError, match=f"process {os.getpid()}") as caught, second.lock():
            pass
        assert caught.value.exit_code == 2 and "--session" in caught.value.next
        script = (
            "import sys; from pathlib import Path; from spikelet.run import SessionFolder\n"
            "with SessionFolder(Path(sys.argv[1])).lock(): pass"
        )
        other = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "s")], capture_output=True, text=True
        )
        assert other.returncode != 0 and "another run writes there" in other.stderr
    with second.lock():
        pass


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"index": 2, "lab', "line 3"),
        (b"\xff\xfe", "line 3"),
        (b"", "line 3"),
        (json.dumps(dataclasses.asdict(sample(4))).encode(), "line 3.*it is of sample 4"),
        (json.dumps({**dataclasses.asdict(sample(2)), "ticks": "1"}).encode(), "ticks is no int"),
        (json.dumps({**dataclasses.asdict(sample(2)), "mismatches": -1}).encode(), "-1 mism"),
        (b"[" * 100_000, "line 3"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path, line: bytes, text: str) -> None:
    folder = record_session(tmp_path / "s", TOTAL, complete=True)
    samples = tmp_path / "s" / "samples.jsonl"
    lines = samples.read_bytes().splitlines()
    lines[2] = line
    samples.write_bytes(b"\n".join(lines) + b"\n")
    with pytest.raises(UsageError, match=text):
        folder.samples()
    with pytest.raises(UsageError, match="line 3"):
        folder.resumable(HEAD)
    assert folder.head()["complete"] is False


def test_only_a_last_line_that_broke_off_is_left_out(tmp_path: Path) -> None:
    folder = record_session(tmp_path / "s", 3)
    samples = tmp_path / "s" / "samples.jsonl"
    whole = samples.read_bytes()
    samples.write_bytes(whole[:-30])
    assert folder.samples() == [sample(0), sample(1)]
    assert len(folder.begin(HEAD, resume=True)) == 2
    folder.add(sample(2))
    assert samples.read_bytes() == whole


def test_complete_is_what_holds_every_sample(tmp_path: Path) -> None:
    assert record_session(tmp_path / "a", TOTAL, complete=True).head()["complete"] is True
    assert record_session(tmp_path / "b", TOTAL - 1, complete=True).head()["complete"] is False
    with pytest.raises(UsageError, match="holds 6 samples"):
        record_session(tmp_path / "c", TOTAL + 1).samples()


@pytest.mark.parametrize(
    "key", ["toolchain", "image_sha256", "machine", "unique_id", "data_sha256", "package_sha256"]
)
def test_resume_of_another_run_is_refused(tmp_path: Path, key: str) -> None:
    folder = record_session(tmp_path / "s", 2)
    before = (tmp_path / "s" / "session.json").read_bytes()
    other = {**HEAD, key: "other"}
    if key == "unique_id":
        folder.finish({**HEAD, key: "first", "complete": False})
        before = (tmp_path / "s" / "session.json").read_bytes()
    with pytest.raises(UsageError, match=f"has {key} .*this run has other"):
        folder.begin(other, resume=True)
    assert (tmp_path / "s" / "session.json").read_bytes() == before


@pytest.mark.quick
def test_resume_knows_data_and_hardware_by_what_they_are(tmp_path: Path) -> None:
    folder = record_session(tmp_path / "s", 2)
    assert len(folder.begin({**HEAD, "data": "/elsewhere.npz"}, resume=True)) == 2
    hardware = {**HEAD, "unique_id": "0011", "machine": "/dev/ttyACM0"}
    folder.finish({**hardware, "complete": False})
    assert len(folder.begin({**hardware, "machine": "/dev/ttyACM1"}, resume=True)) == 2


def test_an_earlier_session_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "s"
    record_session(path, 3)
    (path / "build").mkdir()
    for n, count in ((1, 3), (2, 2)):
        folder = record_session(path, 2)
        assert folder.moved == tmp_path / f"s.{n}"
        assert len(SessionFolder(folder.moved).samples()) == count
    assert (path / "build").is_dir() and len(SessionFolder(path).samples()) == 2
    assert record_session(tmp_path / "t", TOTAL, complete=True).moved is None
    moved = record_session(tmp_path / "t", 1).moved
    assert moved == tmp_path / "t.1"
    head = SessionFolder(moved).head()
    assert head["complete"] and head["path"] == str(moved.resolve())


def test_a_session_says_when_and_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = record_session(tmp_path / "s", 2).head()
    assert (first["path"], first["host"]) == (str((tmp_path / "s").resolve()), platform.node())
    began = datetime.fromisoformat(first["date"])
    assert abs((datetime.now(UTC) - began).total_seconds()) < 60 and first["duration_s"] >= 0
    folder = SessionFolder(tmp_path / "s")
    folder.finish({**first, "date": "2020-01-01T00:00:00+00:00", "duration_s": 100.0})
    now = time.monotonic()
    monkeypatch.setattr("time.monotonic", lambda: now)
    folder.begin(HEAD, resume=True)
    now += 7
    folder.finish({**HEAD, "complete": False})
    resumed = folder.head()
    assert (resumed["date"], resumed["duration_s"]) == ("2020-01-01T00:00:00+00:00", 107.0)


def test_a_damaged_session_json_says_so_and_keeps_the_samples(tmp_path: Path) -> None:
    path = tmp_path / "s"
    folder = record_session(path, 3)
    (path / "session.json").write_bytes((path / "session.json").read_bytes()[:40])
    with pytest.raises(UsageError, match=r"session\.json is damaged .* holds 3 samples"):
        folder.begin(HEAD, resume=True)
    again = record_session(path, 1)
    assert again.moved == tmp_path / "s.1"
    assert (tmp_path / "s.1" / "samples.jsonl").read_bytes().count(b"\n") == 3


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = record_session(tmp_path / "s", 3)
    names = {file: file.read_bytes() for file in (tmp_path / "s").iterdir()}

    def fails(fd: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", fails)
    for write in (
        lambda: folder.finish({}),
        lambda: folder.begin(HEAD, resume=True),
        lambda: folder.show({"x": np.zeros(3)}),
    ):
        with pytest.raises(OSError, match="no space"):
            write()
        assert {file: file.read_bytes() for file in (tmp_path / "s").iterdir()} == names


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuiltImage:
    return make(small_package(), find_board("native"), tmp_path_factory.mktemp("build"))


def session(folder: SessionFolder, built: BuiltImage, **options: Any) -> dict[str, Any]:
    package = options.pop("package", None) or small_package()
    target = SessionTarget(find_board("native"), built)
    result, _ = run(package, target, package_stream(package), folder, **options)
    return result


class _Break(Exception):
    pass


class _Until(Watch):
    """Breaks off after so many samples."""

    def __init__(self, count: int) -> None:
        self.count = count

    def progress(self, now: SampleProgress) -> None:
        if now.done == self.count:
            raise _Break


def test_stack_and_link_of_a_resumed_session_cover_all_parts(
    tmp_path: Path, built: BuiltImage
) -> None:
    folder = SessionFolder(tmp_path / "s")
    with pytest.raises(_Break):
        session(folder, built, watch=_Until(7))
    noted = folder.head()
    assert noted["complete"] is False and noted["link"]["parts"][0]["samples"] == 7
    with pytest.raises(_Break):
        session(folder, built, resume=True, watch=_Until(9))
    result = session(folder, built, resume=True)
    parts = result["link"]["parts"]
    assert [(p["first"], p["samples"]) for p in parts] == [(0, 7), (7, 2), (9, SAMPLES - 9)]
    for key in ("frames", "bad_frames", "retries"):
        assert result["link"][key] == sum(p[key] for p in parts)
    assert result["link"]["frames"] > max(p["frames"] for p in parts) > 0
    assert (result["stack_bytes"] or 0) == max(p["stack_bytes"] for p in parts)
    assert folder.head() == result and result["complete"] is True
    assert result["image_sha256"] == built.facts()["image_sha256"]


def test_a_run_without_a_sample_costs_an_earlier_session_nothing(
    tmp_path: Path, built: BuiltImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelet.link.device import Device

    folder = SessionFolder(tmp_path / "s")
    session(folder, built)
    files = [tmp_path / "s" / name for name in ("session.json", "samples.jsonl")]
    before = [file.read_bytes() for file in files]
    # An operator that means something else today; the image still fits the package.
    stale = small_package()
    streamed = package_stream(stale)
    streamed.golden["counts"] = streamed.golden["counts"] + 1
    with pytest.raises(PackageError, match="golden's counts of sample 0"):
        run(stale, SessionTarget(find_board("native"), built), streamed, folder)
    assert [file.read_bytes() for file in files] == before

    def dies(*args: object, **options: object) -> None:
        raise LinkDead("the link died")

    monkeypatch.setattr(Device, "start_run", dies)
    with pytest.raises(LinkDead):
        session(folder, built)
    assert [file.read_bytes() for file in files] == before and folder.moved is None


def test_a_port_with_another_instruction_set_is_refused(tmp_path: Path, built: BuiltImage) -> None:
    package, native = small_package(), find_board("native")
    other = native.model_copy(update={"isa": "rv32imac", "name": "other"})
    with serve(built.firmware.elf) as (url, _):
        with pytest.raises(UsageError, match="is host, that of board other is rv32imac") as caught:
            run(
                package, SessionTarget(other, port=url), package_stream(package),
                SessionFolder(tmp_path / "s"),
            )  # fmt: skip
        assert caught.value.exit_code == 2
    assert not (tmp_path / "s" / "session.json").exists()
