"""The README to the letter."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from support import need

README = Path(__file__).resolve().parents[2] / "README.md"


def test_the_example_runs_and_its_package_is_bit_exact(tmp_path: Path) -> None:
    need("snntorch")
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (tmp_path / "example.py").write_text(example)
    subprocess.run([sys.executable, "example.py"], cwd=tmp_path, check=True)
    command = [sys.executable, "-m", "spikelet", "run", "mine.spk", "--board", "native"]
    done = subprocess.run(
        [*command, "--layers", "--json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["samples"], result["mismatches"]) == (50, 0)


def test_every_command_it_names_exists() -> None:
    named = set(re.findall(r"^spikelet (\w+)", README.read_text(), re.MULTILINE))
    named |= set(re.findall(r"`spikelet (\w+)", README.read_text()))
    listed = subprocess.run(
        [sys.executable, "-m", "spikelet", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert len(named) >= 6
    assert [name for name in named if name not in listed] == []
