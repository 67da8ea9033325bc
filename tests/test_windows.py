"""What is said to work on Windows, in a process that lacks what Windows lacks (`windows.py`).

It shows that the code asks for nothing that is not there. No Windows has run it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import spikelet
import windows
from spikelet.cli.app import execute

TESTS = Path(__file__).parent
PACKAGE = TESTS / "fixtures" / "v0_1_0" / "digits_snn.spk"
PROGRAM = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import windows
windows.pretend()
import spikelet
from spikelet.cli import main
said = {"modules": len([name for name in sys.modules if name.partition(".")[0] == "spikelet"])}
package = spikelet.load(sys.argv[2])
said["predicted"] = package.predict(package.inputs["x"][:20]).label.tolist()
for words in json.loads(sys.argv[3]):
    text = io.TextIOWrapper(io.BytesIO(), "cp1252")
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            main(words)
        except SystemExit as end:
            code = end.code
    text.seek(0)
    said[words[0]] = [code, text.read()]
from spikelet.board import Firmware, ImageSizes, ToolMissing, find_board, start
try:
    start(Firmware(None, find_board("virt-rv32"), "zig", False, ImageSizes(0, 0, 0, (), ())))
except ToolMissing as refused:
    said["machine"] = refused.next
print(json.dumps(said))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it is Windows")
def test_what_needs_no_device_asks_for_nothing_that_windows_lacks(tmp_path: Path) -> None:
    export = ["export", str(PACKAGE), "--target", "cortex-m4", "--c"]
    commands = [
        ["--help"],
        ["--version"],
        ["inspect", str(PACKAGE)],
        [*export, str(tmp_path / "there")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(TESTS), str(PACKAGE), json.dumps(commands)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout)
    assert said["modules"] >= len(windows.modules()) > 300
    package = spikelet.load(PACKAGE)
    assert said["predicted"] == package.predict(package.inputs["x"][:20]).label.tolist()
    codes = {words[0]: said[words[0]][0] for words in commands}
    assert codes == {"--help": 0, "--version": 0, "inspect": 0, "export": 0}, said
    assert "WSL2" in said["machine"]
    assert execute([*export, str(tmp_path / "here")]) == 0
    here, there = (
        {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "here", tmp_path / "there")
    )
    assert here == there and len(here) > 10
