"""What is kept from build to build, and where, when the usual places cannot be written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import graphs
from probes import Probe
from spikelet.board import Firmware, build, start
from spikelet.board.build import usable_cache, zig_environment
from spikelet.board.objects import ObjectCache
from spikelet.codegen import generate
from spikelet.errors import UsageError
from spikelet.link import transport
from support import need


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home of its own, no cache named, temporary files below the test's folder."""
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    for name in ("SPIKELET_CACHE", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


def _unwritable_place(tmp_path: Path) -> str:
    """A place below a file, which not even root can write."""
    (tmp_path / "file").write_text("")
    return str(tmp_path / "file" / "below")


def test_zig_keeps_its_own_cache_where_home_is_good(tmp_path: Path) -> None:
    assert zig_environment() == {}
    assert usable_cache() == tmp_path / "home" / ".cache" / "spikelet"


def test_zig_follows_the_cache_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path / "mine"))
    expected = str(tmp_path / "mine" / "zig")
    assert zig_environment() == {
        "ZIG_GLOBAL_CACHE_DIR": expected, "ZIG_LOCAL_CACHE_DIR": expected,
    }  # fmt: skip
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/elsewhere")
    assert zig_environment() == {}


@pytest.mark.parametrize("home", ["missing", "blocked"])
def test_without_a_home_a_temporary_folder_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", _unwritable_place(tmp_path))
    spare = tmp_path / "tmp" / f"spikelet-{os.getuid()}"
    assert usable_cache() == spare
    assert spare.stat().st_mode & 0o777 == 0o700
    if home == "missing":
        monkeypatch.delenv("HOME")
        monkeypatch.setenv("SPIKELET_CACHE", _unwritable_place(tmp_path))
    assert zig_environment()["ZIG_GLOBAL_CACHE_DIR"] == str(spare / "zig")


def test_a_cache_that_cannot_be_anywhere_names_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKELET_CACHE", _unwritable_place(tmp_path))
    # A link in the place of the spare folder is not followed: what lies there is executed.
    (tmp_path / "tmp" / f"spikelet-{os.getuid()}").symlink_to(tmp_path / "home")
    with pytest.raises(UsageError) as caught:
        usable_cache()
    assert caught.value.next == "set SPIKELET_CACHE to a folder of your own"


def test_the_emulator_starts_without_a_writable_home(
    firmware: Callable[..., Firmware], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = firmware("virt-rv32", "zig")
    monkeypatch.setenv("HOME", _unwritable_place(tmp_path))
    monkeypatch.setenv("SPIKELET_CACHE", _unwritable_place(tmp_path))
    with start(image, "unicorn") as machine:
        assert Probe(machine).device.echo(b"here") == b"here"
    spare = tmp_path / "tmp" / f"spikelet-{os.getuid()}"
    assert list((spare / "sim").glob("rv32_machine-*.so"))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("tied", [True, False])
def test_a_killed_leash_leaves_no_simulator(
    firmware: Callable[..., Firmware], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    """By the kernel on Linux; elsewhere, as with `tied` off, when the machine is stopped."""
    need("qemu-system-riscv32")
    if not tied:
        from spikelet.board import machine as module

        text = (module.sim_dir() / "leash.py").read_text()
        (tmp_path / "leash.py").write_text(text.replace('"linux"', '"nowhere"'))
        monkeypatch.setattr(module, "sim_dir", lambda: tmp_path)
    machine = start(firmware("virt-rv32", "zig"), "qemu")
    leash = machine.process.pid
    simulator = int(Path(f"/proc/{leash}/task/{leash}/children").read_text())
    os.kill(leash, signal.SIGKILL)
    if not tied:
        machine.process.wait(2)
        assert _alive(simulator)
        machine.stop()
    deadline = time.monotonic() + 3
    while _alive(simulator):
        assert time.monotonic() < deadline, f"{simulator} outlived its leash"
        time.sleep(0.01)
    machine.stop()


@pytest.mark.parametrize(
    ("group", "mode", "said"),
    [(0, 0o660, "sudo chmod a+rw"), (20, 0o600, "sudo chmod a+rw"), (20, 0o660, "usermod -aG")],
)
def test_the_advice_for_a_forbidden_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int, mode: int, said: str
) -> None:
    port = tmp_path / "tty"
    port.write_text("")
    port.chmod(mode)
    real = Path.stat
    fields = list(real(port))
    fields[5] = group
    monkeypatch.setattr(
        Path, "stat", lambda self, **k: os.stat_result(fields) if self == port else real(self, **k)
    )
    error = transport._port_error(str(port), 9600, PermissionError(13, "Permission denied"))
    assert said in error.next and "aG root" not in error.next
    assert ("udev" in error.next) is (said != "usermod -aG")
    assert error.cause.startswith("permission denied: ")


def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the sources that are compiled from here on."""
    names: list[str] = []

    def call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        if "-c" in command:
            names.append(Path(command[command.index("-c") + 1]).name)
        return original(command, folder)

    module = sys.modules["spikelet.board.build"]
    original = module._call
    monkeypatch.setattr(module, "_call", call)
    return names


def test_only_the_model_is_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("gcc")
    monkeypatch.setenv("SPIKELET_CACHE", str(tmp_path / "cache"))
    graph = graphs.digits_like()
    generate(graph, "0" * 64, tmp_path / "model")
    names = compiled(monkeypatch)
    first = build(tmp_path / "model", "native", tmp_path / "a", toolchain="gcc")
    assert {"agent.c", "board.c", "spk_link.c", "model.c"} <= set(names)
    names.clear()
    second = build(tmp_path / "model", "native", tmp_path / "b", toolchain="gcc")
    assert names == ["model.c"]
    assert first.elf.read_bytes() == second.elf.read_bytes()
    names.clear()
    build(tmp_path / "model", "native", tmp_path / "c", toolchain="gcc", defines=("OTHER",))
    assert "agent.c" in names  # other flags, other objects
    monkeypatch.setenv("CPATH", "/elsewhere")  # the compiler is told what the key does not hold
    names.clear()
    build(tmp_path / "model", "native", tmp_path / "d", toolchain="gcc")
    assert "agent.c" in names


def test_an_object_is_found_by_all_that_it_was_made_from(tmp_path: Path) -> None:
    header, source, program = tmp_path / "h/a.h", tmp_path / "a.c", tmp_path / "cc"
    header.parent.mkdir()
    for file in (header, source, program):
        file.write_text("one")

    def place(*flags: str) -> Path | None:
        return ObjectCache(tmp_path / "kept", [header.parent]).place([str(program), *flags], source)

    source.write_text('#include "a.h"')
    seen = [place("-O1"), place("-O2"), place("-O", "2")]
    for file, text in (
        (header, "#include <b.h>"),
        (source, '#include "a.h"\nint x;'),
        (program, ""),
    ):
        file.write_text(text)
        seen.append(place("-O1"))
    for text in ("two", "SPK_MACRO"):
        (header.parent / "b.h").write_text(text)
        seen.append(place("-O1"))
    (header.parent / "more").mkdir()
    (header.parent / "more" / "b.h").write_text("it may be this one")
    seen += [place("-O1"), place("-O1", "-DSPK_MACRO"), place("-O1", "-DSPK_MACRO=2")]
    seen += [place("-O1", "-DSPK_OTHER", "-DNAME=SPK_OTHER"), place("-O1", "-DNDEBUG")]
    assert len(set(seen)) == 13 and None not in seen
    (header.parent / "c.h").write_text("nobody includes it")
    assert seen[8] == place("-O1") == place("-O1", "-DSPK_OTHER", "-DSPK_THIRD=1")
    source.write_text('#include "a.h"\n#include NAMED')
    assert len({place("-O1"), place("-O1", "-DSPK_OTHER")}) == 2
    assert ObjectCache(None, []).place([str(program)], source) is None


def test_what_builds_share_is_one_text_to_the_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces and learning are macros of a few sources: the others are compiled for none of them."""
    need("gcc")
    asked: dict[Path | None, list[list[str]]] = {}
    place = ObjectCache.place

    def noted(self: ObjectCache, command: list[str], source: Path) -> Path | None:
        found = place(self, command, source)
        asked.setdefault(found, []).append(command)
        return found

    monkeypatch.setattr(ObjectCache, "place", noted)
    for name, trace in (("plain", False), ("trace", True)):
        folder = tmp_path / name
        generate(graphs.digits_like(), "0" * 64, folder, trace=trace)
        build(folder, "native", folder / "out", toolchain="gcc", trace=trace)
    defines = ("SPK_UNHEARD_OF",)
    build(tmp_path / "plain", "native", tmp_path / "out", toolchain="gcc", defines=defines)
    shared = 0
    for commands in asked.values():
        texts = {subprocess.check_output([*command, "-E", "-P"]) for command in commands}
        assert len(texts) == 1, commands[0][-1]
        shared += len(commands) - 1
    assert len(asked) > 5 and shared > len(asked) / 2


def test_the_older_half_of_too_many_objects_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spikelet.board.objects.MOST", 3)
    made = tmp_path / "made.o"
    made.write_bytes(b"object")
    cache = ObjectCache(tmp_path / "kept", [])
    for number in range(4):
        cache.keep(tmp_path / "kept" / f"{number}.o", made)
        os.utime(tmp_path / "kept" / f"{number}.o", (number, number))
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["2.o", "3.o"]
