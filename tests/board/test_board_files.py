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


@pytest.mark.quick
def test_the_boards_of_the_house_load() -> None:
    found = boards()
    assert {"native", "virt-rv32"} <= set(found)
    for name, board in found.items():
        assert board.folder == boards_dir() / name
        assert "MHz" not in board.core  # that is `mhz`
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
    assert ", sifive-e, stm32vldiscovery, virt-rv32, " in caught.value.what
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
        ("mips = 20.0", "mpis = 20.0", "mpis: there is no such field"),
        ("stack_bytes = 4096", "", "memory.stack_bytes: Field required"),
        ("stack_bytes = 4096", "stack_bytes = 0x40000", "leaves nothing of 262144 bytes of RAM"),
        ('tick = "instruction"', 'tick = "heartbeat"', "tick: Input should be 'none'"),
        ('"board.c"', '"bored.c"', "bored.c is in none of"),
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


def family(room: Path, **boards: str) -> None:
    for name, text in boards.items():
        (room / name).mkdir(exist_ok=True)
        (room / name / "board.toml").write_text(f'description = "one"\n{text}')


def test_a_board_says_only_how_it_differs(tmp_path: Path) -> None:
    family(
        tmp_path,
        child='name = "child"\nextends = "parent"\n[memory]\nstack_bytes = 1024\n',
        parent='name = "parent"\nextends = "virt-rv32"\nmips = 3.0\n'
        "[memory]\nram = { bytes = 0x8000 }\n"
        '[toolchains.own]\ncommand = ["own-cc"]\n[toolchains.gcc]\nflags = ["-O3"]\n',
    )
    board, base = load_board(tmp_path / "child"), load_board(boards_dir() / "virt-rv32")
    assert (board.name, board.mips, board.isa) == ("child", 3.0, base.isa)
    assert board.memory is not None and base.memory is not None
    assert (board.memory.ram.base, board.memory.ram.bytes) == (base.memory.ram.base, 0x8000)
    assert (board.memory.stack_bytes, board.memory.flash) == (1024, base.memory.flash)
    assert list(board.toolchains) == ["own", "zig", "gcc"]
    assert board.toolchains["gcc"].flags == ("-O3",)  # a list is replaced
    assert board.toolchains["gcc"].link == base.toolchains["gcc"].link
    assert board.bases == ((tmp_path / "parent").resolve(), (boards_dir() / "virt-rv32").resolve())
    assert board.path("board.c") == boards_dir() / "virt-rv32" / "board.c"
    (tmp_path / "child" / "board.c").touch()
    assert load_board(tmp_path / "child").path("board.c") == tmp_path / "child" / "board.c"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "a"\nextends = "a"\n', "a -> a is a circle"),
        ('name = "a"\nextends = "b"\n', "a -> b -> a is a circle"),
        ('name = "a"\nextends = "virt-rv23"\n', "did you mean 'virt-rv32'?"),
        ('name = "a"\nextends = "../a/b"\n', "extends = '../a/b' names no board"),
        ('name = "a"\nextends = 5\n', "extends = 5 names no board"),
        ('extends = "virt-rv32"\n', "has no name"),
        ('name = "a"\nextends = "virt-rv32"\nmpis = 1.0\n', "mpis: there is no such field\n"),
        ('name = "a"\nextends = "c"\n', "mpis: there is no such field (in "),
    ],
)
def test_what_a_board_cannot_extend(text: str, words: str, tmp_path: Path) -> None:
    family(
        tmp_path,
        a=text,
        b='name = "b"\nextends = "a"\n',
        c='name = "c"\nextends = "virt-rv32"\nmpis = 1.0\n',
    )
    with pytest.raises(UsageError) as caught:
        load_board(tmp_path / "a")
    assert words in str(caught.value)
    assert str(tmp_path) in caught.value.what


def test_boards_in_qemu_start_the_machine_of_their_name() -> None:
    for name in (
        "lm3s6965evb",
        "microbit",
        "mps2-an386",
        "mps2-an500",
        "mps2-an505",
        "mps3-an547",
        "netduinoplus2",
        "stm32vldiscovery",
    ):
        board = boards()[name]
        argv = [part.format(board=board.name, elf="") for part in board.machines["qemu"].argv]
        assert argv[argv.index("-M") + 1] == name
