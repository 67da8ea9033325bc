"""What is loaded to show the version and the help: little, so that both are there at once."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from spikelet.board import USES
from spikelet.cli import commands
from spikelet.cli.app import COMMANDS
from spikelet.quantise import METHODS, Options

HEAVY = {"numpy", "pydantic", "torch", "onnx", "tflite", "matplotlib", "rich", "jinja2", "serial"}
SCRIPT = """
import sys
from spikelet.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
FILES = {path.stem for path in Path(commands.__file__).parent.glob("[!_]*.py")}


def output_and_modules(*arguments: str) -> tuple[str, set[str]]:
    """What a command prints, and the modules that it has loaded."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    return ended.stdout, set(ended.stderr.split())


def test_every_command_is_listed() -> None:
    assert {name.rstrip("_") for name in FILES} == set(COMMANDS)


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_version_and_help_load_nothing_heavy(arguments: tuple[str, ...]) -> None:
    out, modules = output_and_modules(*arguments)
    assert not HEAVY & {name.partition(".")[0] for name in modules}
    if arguments == ("--help",):
        assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("file", sorted(FILES))
def test_the_help_of_a_command_loads_its_file_alone(file: str) -> None:
    name = file.rstrip("_")
    out, modules = output_and_modules(name, "--help")
    # typer itself reads the options before a command's name with pydantic: .04 s.
    assert not (HEAVY - {"pydantic"}) & {module.partition(".")[0] for module in modules}
    ours = {m.removeprefix("spikelet.") for m in modules if m.startswith("spikelet.")}
    ground = {
        "cli", "cli.app", "cli.commands", "cli.completion", "cli.options", "cli.output",
        "cli.places",
    }  # fmt: skip
    assert ours - {"errors", "paths", "version"} - ground == {f"cli.commands.{file}"}
    summary = inspect.getdoc(import_module(f"spikelet.cli.commands.{file}").command) or ""
    assert " ".join(summary.split()) in " ".join(out.split())
    assert "--json" in out


def test_help_names_what_the_code_knows() -> None:
    """These words stand in the help, because what they come from takes long to load."""
    importing = " ".join(output_and_modules("import", "--help")[0].split())
    assert f"{', '.join(METHODS[:-1])} or {METHODS[-1]}. Default: {Options().method}" in importing
    uses = list(USES)
    doctor = " ".join(output_and_modules("doctor", "--help")[0].split())
    assert f"{', '.join(uses[:-1])} or {uses[-1]}" in doctor
