"""The README to the letter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import need

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.parametrize(("package", "samples"), [("mine.spk", 50), ("mine_int8.spk", 200)])
def test_the_examples_run_and_their_packages_are_bit_exact(
    tmp_path: Path, package: str, samples: int
) -> None:
    need("snntorch")
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (example,) = [text for text in examples if f'"{package}"' in text]
    (tmp_path / "example.py").write_text(example)
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "spikelet", "run", package, "--board", "native"]
    done = subprocess.run(
        [*command, "--layers", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["samples"], result["mismatches"]) == (samples, 0)


@pytest.mark.quick
def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"^spikelet (\w+)", README.read_text(), re.MULTILINE))
    named |= set(re.findall(r"`spikelet (\w+)", README.read_text()))
    listed = subprocess.run(
        [sys.executable, "-m", "spikelet", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert len(named) >= 6
    assert [name for name in named if name not in listed] == []
