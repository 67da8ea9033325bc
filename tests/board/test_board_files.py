"""Board files: what is refused, and in which words."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spikelet.board import boards, find_board, load_board
from spikelet.errors import UsageError
from spikelet.paths import boards_dir


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(boards_dir() / "virt-rv32", tmp_path / "mine"))


def edit(folder: Path, old: str, new: str) -> None:
    file = folder / "board.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_boards_of_the_house_load() -> None:
    found = boards()
    assert {"native", "virt-rv32"} <= set(found)
    for name, board in found.items():
        assert board.folder == boards_dir() / name
    rv32 = found["virt-rv32"]
    assert rv32.memory is not None
    assert (rv32.memory.flash.base, rv32.memory.ram.bytes) == (0x8000_0000, 256 * 1024)
    assert rv32.memory.storage is not None
    assert rv32.memory.storage.bytes == 2 * 256 * 1024
    assert list(rv32.toolchains) == ["zig", "gcc"]
    assert list(rv32.machines) == ["unicorn", "qemu"]


def test_an_unknown_board_names_what_exists_and_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_board("virt-rv23")
    assert ", native, sifive-e, virt-rv32" in caught.value.what
    assert "did you mean 'virt-rv32'?" in caught.value.cause
    assert caught.value.exit_code == 2


def test_a_board_of_the_users_own_comes_by_path(folder: Path) -> None:
    edit(folder, 'name = "virt-rv32"', 'name = "mine"')
    assert find_board(str(folder)).name == "mine"
    assert find_board(str(folder)).folder == folder
    assert find_board(str(folder)).path("common/rv32.ld") == boards_dir() / "common" / "rv32.ld"
    (folder / "common").mkdir()
    (folder / "common" / "rv32.ld").touch()
    assert find_board(str(folder)).path("common/rv32.ld") == folder / "common" / "rv32.ld"


def test_a_path_without_a_board_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no board\.toml"):
        find_board(str(tmp_path))
    with pytest.raises(UsageError, match=r"holds no board\.toml"):
        find_board("./nowhere/board")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mips = 20.0", "mips = -1.0", "mips: Input should be greater than 0"),
        ("mips = 20.0", "mpis = 20.0", "mpis: Extra inputs are not permitted"),
        ("stack_bytes = 4096", "", "memory.stack_bytes: Field required"),
        ("stack_bytes = 4096", "stack_bytes = 0x40000", "leaves nothing of 262144 bytes of RAM"),
        ('tick = "instruction"', 'tick = "heartbeat"', "tick: Input should be 'none'"),
        ('"board.c"', '"bored.c"', "bored.c is not in"),
        ('link_script = "common/rv32.ld"', "", "needs [memory] and link_script"),
        ('isa = "rv32imac"', 'isa = "rv32imca_zbd"', "isa: Value error, 'rv32imca_zbd' names the"),
        ('isa = "rv32imac"', 'isa = "armv8m-main"', "did you mean 'armv8-m.main'?"),
        ("[memory]", "[memory", "cannot read"),
        ("page_bytes = 4096", "page_bytes = 0x41000", "are not two slots of whole pages"),
        ("page_bytes = 4096", "page_bytes = 100", "multiple of 64"),
    ],
)
def test_a_faulty_board_file_is_named_with_its_field(
    folder: Path, old: str, new: str, words: str
) -> None:
    edit(folder, old, new)
    with pytest.raises(UsageError) as caught:
        load_board(folder)
    assert words in caught.value.what
    assert str(folder) in caught.value.what
