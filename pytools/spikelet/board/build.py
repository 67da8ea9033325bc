"""From a generated model.c to an image: compile, link, measure.

The same sources, board and compiler give the same bytes: no time, path or host name enters the
image.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from spikelet.board import monocypher as ed25519
from spikelet.board.image import ImageSizes, Section, Symbol, read_image
from spikelet.board.objects import ObjectCache
from spikelet.board.spec import BOARD_FILE, Board, ToolchainSpec, find_board
from spikelet.board.stack import CLANG_FLAG, GCC_FLAG, StackBound, stack_bound
from spikelet.board.toolchain import choose_toolchain
from spikelet.errors import UsageError
from spikelet.graph.c import FLAGS
from spikelet.paths import boards_dir, cache_dir, firmware_dir, user_id
from spikelet.plugins import kernel_dirs

WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow", "-Wvla")
# No errno: clang calls a function for an explicit multiply-add otherwise, FPU or not.
COMMON = (
    "-std=c11", *WARNINGS, "-ffunction-sections", "-fdata-sections", "-fno-common",
    "-fno-math-errno", "-g0", *FLAGS,
)  # fmt: skip
# A core fetches words: without this a byte more in the agent moves the loops of a model against
# them, and what an inference takes with it (CV32E40P: 2.5 % of mnist_rows).
MODEL, ALIGNED = "model.c", "-falign-functions=4"
FREESTANDING = ("-ffreestanding", "-fno-stack-protector")
ZIG_CACHES = ("ZIG_GLOBAL_CACHE_DIR", "ZIG_LOCAL_CACHE_DIR")
OUTPUT_LINES = 40  # of a compiler's complaint
LAST_LINES = 5  # among them: zig says the error last


class BuildError(UsageError):
    """The compiler or the linker refused."""


class ImageTooLarge(BuildError):
    """The image does not fit the board's flash or RAM.

    Attributes:
        over: bytes that are too many, by "flash" and "ram".
    """

    over: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Firmware:
    """An image and what it takes.

    Attributes:
        elf: the image.
        board: the board that it is for.
        toolchain: name of the toolchain that made it.
        trace: whether it is a trace build.
        sizes: what it takes.
        stack: what the stack can take at the most; None on a host.
    """

    elf: Path
    board: Board
    toolchain: str
    trace: bool
    sizes: ImageSizes
    stack: StackBound | None = None

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash."""
        return self.sizes.flash_bytes

    @property
    def ram_bytes(self) -> int:
        """Bytes of static RAM, without the stack."""
        return self.sizes.ram_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's constants."""
        return self.sizes.weight_bytes

    @property
    def sections(self) -> tuple[Section, ...]:
        """Sections that take memory."""
        return self.sizes.sections

    @property
    def map(self) -> tuple[Symbol, ...]:
        """Functions and objects by address."""
        return self.sizes.map


def firmware_sources() -> list[Path]:
    """The sources that every image holds."""
    firmware = firmware_dir()
    return sorted(c for room in ("app", "link", "store") for c in (firmware / room).glob("*.c"))


def build(
    model_dir: Path,
    board: Board | str,
    out: Path,
    toolchain: str = "auto",
    trace: bool = False,
    defines: Sequence[str] = (),
    sanitize: bool = False,
    monocypher: Path | None = None,
) -> Firmware:
    """Compile and link the firmware around a generated model.

    Args:
        model_dir: folder that holds model.c and its headers.
        board: the board, or its name or path.
        out: folder for the image; it becomes `out`/firmware.elf.
        toolchain: name of one of the board's toolchains, or "auto".
        trace: with spk_probe and every tensor listed.
        defines: macros, as NAME or NAME=VALUE.
        sanitize: with address and undefined-behaviour sanitisers, where the toolchain has them.
        monocypher: folder of its sources, of an image with a key.

    Raises:
        UsageError: no model.c, an unknown board or toolchain.
        ToolMissing: the compiler is not installed.
        ImageTooLarge: the image does not fit.
        BuildError: the compiler's own complaint; the stack has no bound, or not the room.
    """
    board = find_board(board) if isinstance(board, str) else board
    _expect_agent(board)
    name, command = choose_toolchain(board, toolchain)
    spec = board.toolchains[name]
    model_dir, out = model_dir.resolve(), out.resolve()
    if not (model_dir / MODEL).is_file():
        raise UsageError(f"{model_dir} holds no model.c", next="generate it from a package first")
    _expect_sanitiser(board, name, sanitize)
    macros = [*(["SPK_TRACE"] if trace else []), f'SPK_ISA="{board.isa}"']
    macros += [*_board_macros(board), *defines]
    foreign = [] if monocypher is None else [monocypher / source for source in ed25519.SOURCES]
    flags = [
        *_flags(board, spec, macros, sanitize), *(f"-isystem{source.parent}" for source in foreign),
    ]  # fmt: skip
    common = [*map(board.path, board.sources), *firmware_sources(), *foreign]
    sources = [*common, *sorted(model_dir.glob("*.c"))]
    out.mkdir(parents=True, exist_ok=True)
    elf = out / "firmware.elf"
    with tempfile.TemporaryDirectory(prefix="spikelet-build-") as folder:
        work = Path(folder)
        _compile((command, flags), sources, (set(common), set(foreign)), board, name, work)
        objects = [_object(number) for number in range(len(sources))]
        linking = [*command, *flags, *_link_flags(board, work), *objects, *spec.link]
        result = _call([*linking, "-o", elf.name], work)
        if result.returncode != 0:
            raise _too_large(board, result.stderr) or _build_error(
                "the image does not link", name, board, result
            )
        stack = _stack([work / each for each in objects], work / elf.name, board)
        elf.write_bytes((work / elf.name).read_bytes())
    elf.chmod(0o755)
    return Firmware(elf, board, name, trace, read_image(elf, board), stack)


def _expect_agent(board: Board) -> None:
    if board.library:
        raise UsageError(
            f"board {board.name} has no room for the agent and its link",
            f"{board.memory.ram.bytes if board.memory else 0} bytes of RAM",
            f"`spikelet export --c DIR --board {board.name}` makes a C library; docs/firmware.md "
            "has the firmware around it",
        )


def _expect_sanitiser(board: Board, toolchain: str, sanitize: bool) -> None:
    if sanitize and not board.toolchains[toolchain].sanitize:
        raise UsageError(
            f"board {board.name} has no sanitised build with {toolchain}",
            next="take board native with gcc or clang",
        )


def _stack(objects: Sequence[Path], image: Path, board: Board) -> StackBound | None:
    """What the stack can take at the most: it fits the board's, or a BuildError says by what."""
    if board.memory is None:
        return None
    script = board.path(board.link_script).read_text(encoding="utf-8")
    entry = _ENTRY.search(script)
    stack = stack_bound(objects, image, entry[1] if entry else "_start", board.isa)
    if stack.bytes > board.memory.stack_bytes:
        raise BuildError(
            f"the stack of board {board.name} has {board.memory.stack_bytes} bytes, the image can "
            f"take {stack.bytes}: {stack}",
            "the model's operators, or the board's own functions, keep much on the stack",
            f"raise memory.stack_bytes in {board.folder / BOARD_FILE}, or try another toolchain: "
            + ", ".join(board.toolchains),
        )
    return stack


def _flags(board: Board, spec: ToolchainSpec, macros: list[str], sanitize: bool) -> list[str]:
    """What every compilation and the link are given."""
    flags = [*COMMON, *spec.flags, *(FREESTANDING if board.freestanding else ())]
    if board.memory is not None:
        flags.append(f"-Wframe-larger-than={board.memory.stack_bytes}")
        flags.append(GCC_FLAG if "gcc" in spec.command[0] else CLANG_FLAG)
    if spec.command[0] == "zig":
        flags.append("-fno-sanitize=undefined")  # zig turns it on by itself
    firmware = firmware_dir()
    folders = (
        *kernel_dirs(), firmware / "link", firmware / "store", firmware / "app",
        boards_dir() / "common",
    )  # fmt: skip
    for folder in folders:
        flags += ["-I", str(folder)]
    flags += [f"-D{macro}" for macro in macros]
    return [*flags, *(spec.sanitize if sanitize else ())]


def _board_macros(board: Board) -> list[str]:
    clock = [f"SPK_CORE_HZ={round(board.mhz * 1e6)}"] if board.mhz else []
    macros = [f"SPK_BAUD={board.baud}", *clock, *(f"{k}={v:#x}" for k, v in board.defines.items())]
    storage = board.memory.storage if board.memory else None
    if storage is None:
        return macros
    return [
        *macros,
        f"SPK_STORAGE_BASE={storage.base:#x}",
        f"SPK_STORAGE_BYTES={storage.bytes:#x}",
        f"SPK_STORAGE_PAGE={storage.page_bytes}",
    ]


def _object(number: int) -> str:
    return f"{number:02}.o"


def _compile(
    compiler: tuple[list[str], list[str]],
    sources: list[Path],
    kinds: tuple[set[Path], set[Path]],
    board: Board,
    name: str,
    work: Path,
) -> None:
    """Compile each source to an object in `work`, as many at a time as there are cores.

    `compiler` is a command, and flags that follow what says how to optimise.
    `kinds`: sources whose objects are kept for other builds; those among them that are not ours,
    whose warnings nobody reads.
    """
    common, foreign = kinds
    by_file = {**board.optimize, **board.toolchains[name].optimize}
    cache = _object_cache(board, {source.parent for source in foreign})
    jobs = []
    for number, source in enumerate(sources):
        optimise = by_file.get(source.name, by_file["default"]).split()
        if source.name == MODEL and board.freestanding:
            optimise.append(ALIGNED)
        quiet = ["-w"] if source in foreign else []
        command = [*compiler[0], *optimise, *compiler[1], *quiet, "-c", str(source)]
        jobs.append((command, source, work / _object(number)))

    def compile_one(job: tuple[list[str], Path, Path]) -> subprocess.CompletedProcess[str] | None:
        command, source, to = job
        place = cache.place(command, source) if source in common else None
        if cache.take(place, to):
            return None
        result = _call([*command, "-o", to.name], work)
        if place is not None and result.returncode == 0:
            cache.keep(place, to)
        return result

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        results = list(pool.map(compile_one, jobs))
    for source, result in zip(sources, results, strict=True):
        if result is not None and result.returncode != 0:
            raise _build_error(f"{source.name} does not compile", name, board, result)


def _object_cache(board: Board, more: Iterable[Path]) -> ObjectCache:
    try:
        folder = usable_cache() / "objects"
    except UsageError:
        folder = None
    headers = [*kernel_dirs(), boards_dir() / "common", board.folder, *board.bases, *more]
    return ObjectCache(folder, headers)


def usable_cache() -> Path:
    """The cache, or where that cannot be written a folder of this user among the temporary ones.

    Raises:
        UsageError: neither can be written.
    """
    try:
        wanted = cache_dir()
    except RuntimeError:  # no HOME, and no entry for this user
        wanted = None
    if wanted is not None and _writable(wanted):
        return wanted
    spare = Path(tempfile.gettempdir()) / f"spikelet-{user_id()}"
    with contextlib.suppress(OSError):
        spare.mkdir(mode=0o700, exist_ok=True)
        # What lies there is executed: a folder that another user made first is not taken.
        if spare.lstat().st_uid == user_id() and not spare.is_symlink() and _writable(spare):
            return spare
    raise UsageError(
        f"no folder for the cache: neither {wanted or 'one below HOME'} nor {spare} can be written",
        "they belong to another user, the file system is read-only, or the disk is full",
        "set SPIKELET_CACHE to a folder of your own",
    )


def zig_environment() -> dict[str, str]:
    """What zig needs beside the process's environment: its cache, where its default will not do."""
    if ZIG_CACHES[0] in os.environ:
        return {}
    base = os.environ.get("XDG_CACHE_HOME")
    home = os.environ.get("HOME")
    default = Path(base) / "zig" if base else Path(home) / ".cache" / "zig" if home else None
    if not os.environ.get("SPIKELET_CACHE") and default is not None and _writable(default):
        return {}
    return dict.fromkeys(ZIG_CACHES, str(usable_cache() / "zig"))


def _writable(folder: Path) -> bool:
    """Whether files can be made there; the folder is made when it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def _call(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **zig_environment(), "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace"
    )


def _link_flags(board: Board, work: Path) -> list[str]:
    if board.memory is None:
        return [] if sys.platform == "darwin" else ["-Wl,--gc-sections,--build-id=none"]
    memory = board.memory
    lines = ["MEMORY {"]
    for name, access, region in (("flash", "rx", memory.flash), ("ram", "rw", memory.ram)):
        at = f"ORIGIN = {region.base:#x}, LENGTH = {region.bytes:#x}"
        lines.append(f"    {name} ({access}) : {at}")
    lines += ["}", f"STACK_BYTES = {memory.stack_bytes};", ""]
    (work / "memory.ld").write_text("\n".join(lines), encoding="utf-8")
    script = board.path(board.link_script)
    return ["-static", "-Wl,--gc-sections,--build-id=none", "-L.", "-T", str(script)]


def _build_error(
    what: str, toolchain: str, board: Board, result: subprocess.CompletedProcess[str]
) -> BuildError:
    lines = (result.stderr or result.stdout).strip().splitlines()
    if len(lines) > OUTPUT_LINES:
        left_out = f"... and {len(lines) - OUTPUT_LINES} lines more ..."
        lines = [*lines[: OUTPUT_LINES - LAST_LINES], left_out, *lines[-LAST_LINES:]]
    shown = "\n    ".join(lines) or f"exit code {result.returncode}, no output"
    if "this model was made for" in result.stderr:
        return BuildError(
            f"{what} for board {board.name} with {toolchain}:\n    {shown}",
            f"isa = {board.isa!r} of {board.folder / BOARD_FILE} and the flags of its toolchain "
            f"{toolchain} name different cores",
            f"make [toolchains.{toolchain}] flags those of {board.isa}, or isa that of the flags",
        )
    text = f"{what} for board {board.name} with {toolchain}:\n    {shown}"
    if board.memory is not None and (frame := _FRAME.search(result.stderr)):
        return BuildError(
            f"a function of {what.split()[0]} needs {frame[1] or frame[2]} bytes of stack, board "
            f"{board.name} has {board.memory.stack_bytes}",
            "the model has more operators than the compiler keeps apart in one function",
            f"raise memory.stack_bytes in {board.folder / BOARD_FILE}, or try another toolchain: "
            + ", ".join(board.toolchains),
        )
    if _DISK_FULL.search(shown):
        return BuildError(
            text,
            "the disk is full, or the folder for temporary files is",
            "make room, or set TMPDIR to a folder on another disk",
        )
    if not _IN_SOURCE.search(shown):  # the driver read its command line, and no source
        return BuildError(
            text,
            "a flag of this toolchain in board.toml that the compiler does not know: misspelt, or "
            "of another compiler or version",
            "compare `flags`, `link` and `optimize` in board.toml with the compiler's own list",
        )
    return BuildError(
        text,
        "a source of the board or of the model is at fault, or the compiler is too old",
        "try another toolchain of this board: " + ", ".join(board.toolchains),
    )


_ENTRY = re.compile(r"ENTRY\((\w+)\)")
_FRAME = re.compile(r"frame size (?:of (\d+) bytes is larger|\((\d+)\) exceeds limit)")
_DISK_FULL = re.compile("no space left|disk quota|file too large|file size limit", re.IGNORECASE)
# What names a place in a source, an object or a symbol, or is no verdict of the compiler at all.
_IN_SOURCE = re.compile(
    r"\.\w+:\d+|\bld(\.\w+)?: |undefined (reference|symbol)|internal compiler error|killed|"
    "out of memory|segmentation|no output",
    re.IGNORECASE,
)


def _too_large(board: Board, complaint: str) -> ImageTooLarge | None:
    """The linker's complaint about a full region, in figures; None if it says something else."""
    if board.memory is None:
        return None
    bytes_over: dict[str, int] = {}
    for name, over in re.findall(r"region [`']?(\w+)'? overflowed by (\d+) bytes", complaint):
        bytes_over[name] = max(bytes_over.get(name, 0), int(over))
    for name, over in re.findall(r"in region '(\w+)': overflowed by (\d+) bytes", complaint):
        bytes_over[name] = max(bytes_over.get(name, 0), int(over))
    sizes = {"flash", "ram"}
    return too_large(board, {name: over for name, over in bytes_over.items() if name in sizes})


def too_large(board: Board, over: Mapping[str, int], least: bool = False) -> ImageTooLarge | None:
    """The error of an image that does not fit, in figures; None where it does.

    Args:
        board: with a memory map.
        over: bytes that are too many, by "flash" and "ram".
        least: what is needed is more than these figures say.
    """
    bytes_over = {name: bytes_ for name, bytes_ in over.items() if bytes_ > 0}
    if board.memory is None or not bytes_over:
        return None
    sizes = {"flash": board.memory.flash.bytes, "ram": board.memory.ram.bytes}
    more = "more than " if least else ""
    parts = [
        f"{name}: {more}{sizes[name] + bytes_} bytes needed, {sizes[name]} there, "
        f"{more}{bytes_} too many"
        for name, bytes_ in bytes_over.items()
    ]
    note = (
        f" (RAM holds the stack of {board.memory.stack_bytes} bytes)" if "ram" in bytes_over else ""
    )
    error = ImageTooLarge(
        f"the image does not fit board {board.name}: " + "; ".join(parts) + note,
        "the model is too large for this board, or it is a trace build with long traces",
        "`spikelet inspect` lists what each layer takes; fewer steps or units, or a larger board",
    )
    error.over = bytes_over
    return error
