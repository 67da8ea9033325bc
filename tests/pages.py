"""Pages of README and docs/: their blocks of code, executed in order in a folder of their own.

A block says what it is: `sh` is executed command by command, `python` as a program, `toml` is read,
`text` is only shown. A block with a title is a file of that name, which later blocks use.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = {"README.md": README} | {path.name: path for path in sorted(DOCS.glob("*.md"))}
LANGUAGES = {"sh", "python", "toml", "c", "text"}
_BLOCK = re.compile(
    r"^```(?P<language>\w*)(?: +title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# The plugin as its entry point gives it.
_ENVIRONMENT = {"PYTEST_PLUGINS": "spikelet.pytest_plugin"}


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the file that it is, or ""."""

    language: str
    text: str
    title: str

    @property
    def commands(self) -> list[str]:
        """Of a block of commands, each in one line."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("#")]


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    found = _BLOCK.finditer(PAGES[page].read_text(encoding="utf-8"))
    return [Block(m["language"], m["text"], m["title"] or "") for m in found]


def expected(command: str) -> int:
    """The exit code: 3 where no board is on a port, 2 of what the page says is refused."""
    if "--port /dev/" in command:
        return 3
    return 2 if command.endswith("# refused") else 0


def call(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command line, with this Python's programs in front of the others."""
    programs = Path(sys.executable).parent
    return subprocess.run(
        ["sh", "-c", f'PATH="{programs}:$PATH"\n{command}'],
        cwd=folder,
        env={**os.environ, **_ENVIRONMENT},
        capture_output=True,
        text=True,
    )


def execute(
    given: Iterable[Block],
    folder: Path,
    exits: Mapping[str, int] | None = None,
    changed: Callable[[str], str] = str,
) -> list[str]:
    """Execute blocks in order.

    Args:
        given: the blocks.
        folder: where files are written and commands run.
        exits: by command, up to its comment, the exit code that the page tells of.
        changed: what is executed for a command.

    Returns:
        What the commands and programs printed, one each.
    """
    told = []
    for number, block in enumerate(given):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "toml":
            tomllib.loads(block.text)
        elif block.language == "python":
            program = folder / f"block_{number}.py"
            program.write_text(block.text, encoding="utf-8")
            done = call(folder, f"python {program.name}")
            assert done.returncode == 0, f"{block.text}\n{done.stderr}"
            told.append(done.stdout)
        elif block.language == "sh":
            for command in block.commands:
                done = call(folder, changed(command))
                code = (exits or {}).get(command.partition("#")[0].strip(), expected(command))
                assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
                told.append(done.stdout + done.stderr)
    return told
