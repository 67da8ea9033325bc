"""What the shell completes: names that are looked up when Tab is pressed, and not before."""

from __future__ import annotations

from pathlib import Path

from spikelet.paths import boards_dir, models_dir


def boards(incomplete: str) -> list[str]:
    """Boards of Spikelet by name; folders of one's own by path."""
    names = sorted(file.parent.name for file in boards_dir().glob("*/board.toml"))
    return _starting(names, incomplete) + _files(incomplete, "board.toml")


def models(incomplete: str) -> list[str]:
    """Recipes of Spikelet by name; folders of one's own by path."""
    names = sorted(file.parent.name for file in models_dir().glob("*/recipe.toml"))
    return _starting(names, incomplete) + _files(incomplete, "recipe.toml")


def packages(incomplete: str) -> list[str]:
    """Packages, and folders that may hold some."""
    return _files(incomplete, "", ".spk", ".elf")


def learners(incomplete: str) -> list[str]:
    """Learners of Spikelet and of plug-ins."""
    from spikelet.learn.learner import learners as known

    return _starting(sorted(known()), incomplete)


def streams(incomplete: str) -> list[str]:
    """Streams of `learn`."""
    from spikelet.learn.continual.streams import STREAMS

    return _starting(sorted(STREAMS), incomplete)


def learners_and_streams(incomplete: str) -> list[str]:
    """Both."""
    return learners(incomplete) + streams(incomplete)


def doctor_uses(incomplete: str) -> list[str]:
    """What `doctor` looks for."""
    return _starting(["run", "import", "train", "flash", "test"], incomplete)


def parts(incomplete: str) -> list[str]:
    """Real parts."""
    from spikelet.board.parts import parts as known

    return _starting(sorted(known().parts), incomplete)


def cores(incomplete: str) -> list[str]:
    """Cores of real parts."""
    from spikelet.board.parts import parts as known

    return _starting([*dict.fromkeys([*targets(incomplete), *known().cores])], incomplete)


def targets(incomplete: str) -> list[str]:
    """Cores that a C library is made for."""
    from spikelet.graph.target import CORES, HOST, PORTABLE

    return _starting(
        [*CORES, "rv32ec", "rv32imc", "rv32imac", "rv32imafc", HOST, PORTABLE], incomplete
    )


def tools(incomplete: str) -> list[str]:
    """Tools that flash."""
    from spikelet.board.flash_spec import TOOLS

    return _starting(["auto", *TOOLS], incomplete)


def toolchains(incomplete: str) -> list[str]:
    """Compilers that a board may have."""
    from spikelet.board import boards as known

    return _starting(
        ["auto", *sorted({name for board in known().values() for name in board.toolchains})],
        incomplete,
    )


def machines(incomplete: str) -> list[str]:
    """Emulators that a board may have."""
    from spikelet.board import boards as known

    return _starting(
        ["auto", *sorted({name for board in known().values() for name in board.machines})],
        incomplete,
    )


def _starting(names: list[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _files(incomplete: str, holding: str, *suffixes: str) -> list[str]:
    """Paths that begin like this: files with a suffix, and folders.

    Args:
        incomplete: what was typed.
        holding: folders that hold such a file end the path; others go on with a /.
        suffixes: of files.
    """
    head, slash, tail = incomplete.rpartition("/")
    room = Path(head + slash or ".")
    found = []
    for path in sorted(room.iterdir()) if room.is_dir() else ():
        if not path.name.startswith(tail) or (path.name.startswith(".") and not tail):
            continue
        if path.is_dir():
            ends = not suffixes and (path / holding).is_file()
            found.append(f"{head}{slash}{path.name}{'' if ends else '/'}")
        elif path.suffix in suffixes:
            found.append(f"{head}{slash}{path.name}")
    return found
