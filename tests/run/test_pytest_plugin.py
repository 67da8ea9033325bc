"""The pytest plugin, in runs of pytest: boards that hold the package, others, and a bench."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

import pages
from cli_support import small_package, wrong_image
from spikelet import api
from spikelet.board import build, find_board, roster
from spikelet.codegen import generate
from spikelet.graph.operator import operators
from spikelet.learn.learner import learners
from spikelet.run import checked_device

# Loaded here: what a run of pytester loads, it unloads. The next one would load it again, and the
# classes of a registry would stay without the modules that their annotations are looked up in.
LOADED = (api, checked_device, roster, operators(), learners())
# hypothesis would be loaded, too, and again in each run.
PLUGINS = ("-p", "spikelet.pytest_plugin", "-p", "no:hypothesispytest")
pytest_plugins = ["pytester"]

HOUSE = Path(__file__).resolve().parents[2]

# What a user writes, from the documentation; at most 15 lines.
(CHECKS,) = [b.text for b in pages.blocks("test-bench.md") if b.language == "python"]
# Starts a machine with one bit of a weight of its image flipped.
TAMPER = """
import os, sys
from elftools.elf.elffile import ELFFile

elf, *command = sys.argv[1:]
with open(elf, "rb") as file:
    parsed, data = ELFFile(file), bytearray(open(elf, "rb").read())
    (symbol,) = parsed.get_section_by_name(".symtab").get_symbol_by_name("spk_const_fc1_weight")
    section = parsed.get_section(symbol["st_shndx"])
    at = symbol["st_value"] - section["sh_addr"] + section["sh_offset"] + 5
data[at] ^= 1
with open(elf + ".tampered", "wb") as file:
    file.write(data)
os.chmod(elf + ".tampered", 0o755)
command = [word.replace(elf, elf + ".tampered") for word in command]
os.execvp(command[0], command)
"""


@pytest.fixture
def bench(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setattr("tempfile.tempdir", str(pytester.path))  # locks of this test alone
    package = small_package()
    package.save(pytester.path / "small.spk")
    np.save(pytester.path / "x.npy", package.vectors["x"] / 255)
    assert CHECKS.count("\n") <= 15
    pytester.makepyfile(CHECKS)
    return pytester


def run(bench: pytest.Pytester, *options: object) -> pytest.RunResult:
    words = [*PLUGINS, "--spikelet-package", "small.spk", *map(str, options)]
    return bench.runpytest_inprocess(*words)


def tampered(board: str, folder: Path) -> Path:
    """The board, whose machines change a weight of the image before they start it."""
    source = find_board(board)
    (folder / "tamper.py").write_text(TAMPER)
    made = folder / "tampered"
    made.mkdir()
    machine = next(iter(source.machines))
    argv = ["{python}", str(folder / "tamper.py"), "{elf}", *source.machines[machine].argv]
    text = f'extends = "{board}"\nname = "tampered"\ndescription = "a weight is another"\n'
    (made / "board.toml").write_text(f"{text}[machines.{machine}]\nargv = {json.dumps(argv)}\n")
    return made


@pytest.mark.quick
def test_a_package_on_two_boards(bench: pytest.Pytester) -> None:
    junit = bench.path / "junit.xml"
    boards = ("--spikelet-board", "native", "--spikelet-board", "virt-rv32")
    result = run(bench, *boards, f"--junitxml={junit}", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*test_bits[[]native[]]*", "*test_bits[[]virt-rv32[]]*"])
    cases = ElementTree.parse(junit).getroot().iter("testcase")
    told = {
        (case.get("name"), p.get("name"), p.get("value"))
        for case in cases
        for p in case.iter("property")
    }
    assert ("test_bits[virt-rv32]", "spikelet_board", "virt-rv32") in told
    assert ("test_bits[native]", "spikelet_device", "native") in told


@pytest.mark.parametrize(
    ("text", "outcome", "board", "device"),
    [
        ("board = 'microbit'\nport = '/dev/absent'", "cannot be opened", "microbit", "desk"),
        ("board = 'microbit'\nserial = 'none'", "no port has the USB", "microbit", "desk"),
    ],
)
def test_a_device_that_is_not_there_is_said_once_and_by_name(
    bench: pytest.Pytester, text: str, outcome: str, board: str, device: str
) -> None:
    (bench.path / "bench.toml").write_text(f"[devices.{device}]\n{text}\n")
    junit = bench.path / "junit.xml"
    result = run(bench, "--spikelet-roster", "bench.toml", f"--junitxml={junit}")
    result.assert_outcomes(errors=2)
    for shown in (result.stdout.str(), junit.read_text()):
        assert "During handling" not in shown and "direct cause" not in shown
    for case in ElementTree.parse(junit).getroot().iter("testcase"):
        said = "".join(error.text or "" for error in case.iter("error"))
        assert said.count(outcome) == 1
        properties = {(p.get("name"), p.get("value")) for p in case.iter("property")}
        assert properties == {("spikelet_board", board), ("spikelet_device", device)}


@pytest.mark.parametrize("board", ["native", "virt-rv32"])
def test_a_changed_weight_byte_fails(board: str, bench: pytest.Pytester) -> None:
    result = run(bench, "--spikelet-board", tampered(board, bench.path))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*its constants: spk_const_fc1_weight, at byte 5*"])
    result.stdout.fnmatch_lines(["FAILED *::test_bits*", "FAILED *::test_samples*"])
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("board", ["native", pytest.param("virt-rv32", marks=pytest.mark.long)])
def test_a_changed_weight_that_the_device_does_not_own_up_to_fails(
    board: str, bench: pytest.Pytester
) -> None:
    """The hash, and the constants that it shows, are the package's; it computes with others."""
    elf = lying_image(board, bench.path / "lying")
    machines = bench.path / "liar"
    machines.mkdir()
    machine, spec = next(iter(find_board(board).machines.items()))
    argv = [word.replace("{elf}", str(elf)) for word in spec.argv]
    (machines / "board.toml").write_text(
        f'extends = "{board}"\nname = "liar"\ndescription = "shows other weights than it uses"\n'
        f"[machines.{machine}]\nargv = {json.dumps(argv)}\n"
    )
    result = run(bench, "--spikelet-board", machines)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*Disagreement: *: * elements differ from golden*"])


def lying_image(board: str, folder: Path) -> Path:
    """An image of the package that reads its first weights from a changed copy."""
    package, on = small_package(), find_board(board)
    source = generate(package.graph, package.sha256, folder, target=on.target).source
    text, name = source.read_text(), "spk_const_fc1_weight"
    table = re.search(rf"static const int8_t {name}\[144\] = {{\n    (-?\d+),.*?}};\n", text, re.S)
    assert table is not None
    other = table[0].replace(name, "other").replace(table[1], str(int(table[1]) ^ 64), 1)
    rest = text[table.end() :].replace(name, "other", 1)  # the call comes before the agent's table
    source.write_text(text[: table.end()] + other + rest)
    return build(folder, on, folder).elf


def test_a_fixture_of_ones_own_on_a_device_that_was_refused(bench: pytest.Pytester) -> None:
    """Used while a test is set up it is an error of that; it never passes for a device."""
    bench.makepyfile(
        """
        import pytest

        @pytest.fixture
        def label(spikelet_device, spikelet_package):
            return spikelet_device.infer(spikelet_package.inputs["x"][:1]).label

        def test_label(label):
            pass

        def test_nothing(spikelet_device):
            pass
        """
    )
    result = run(bench, "--spikelet-board", tampered("native", bench.path))
    result.assert_outcomes(errors=1, failed=1)


def test_wrong_code_fails(bench: pytest.Pytester) -> None:
    """Constants are right, and an update is computed with another leak."""
    package = small_package()
    elf = wrong_image(
        package.graph, package.sha256, bench.path / "wrong", "    spk_lif(&lif1_config,",
        "    struct spk_lif wrong = lif1_config;\n    wrong.leak = 29000;\n    spk_lif(&wrong,",
    )  # fmt: skip
    board = bench.path / "broken"
    board.mkdir()
    (board / "board.toml").write_text(
        'extends = "native"\nname = "broken"\ndescription = "computes something else"\n'
        f'[machines.native]\nargv = ["{elf}"]\n'
    )
    result = run(bench, "--spikelet-board", board, "--spikelet-layers")
    result.assert_outcomes(failed=1, passed=1)  # three samples have the right labels all the same
    result.stdout.fnmatch_lines(["*Disagreement: native: * elements differ from golden*"])
    result.stdout.fnmatch_lines(["*sample 0, layer lif1, step 1, lif1.membrane*"])


def test_a_bench_and_a_device_that_is_kept(bench: pytest.Pytester) -> None:
    (bench.path / "bench.toml").write_text(
        "[devices.one]\nboard = 'native'\nmachine = 'pty'\n"
        "[devices.gone]\nboard = 'microbit'\nport = '/dev/ttyNOPE'\n"
    )
    bench.makepyfile(
        """
        kept = []

        def test_first(spikelet_device):
            kept.append(spikelet_device)
            assert spikelet_device.name == "one"

        def test_second(spikelet_device):
            assert kept == [spikelet_device]
            spikelet_device.check(limit=1)
        """
    )
    roster = ("--spikelet-roster", "bench.toml")
    run(bench, *roster, "--spikelet-scope", "session").assert_outcomes(passed=2)
    run(bench, *roster).assert_outcomes(passed=1, failed=1)  # another one for each test
    result = run(bench, *roster, "--spikelet-board", "microbit")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*/dev/ttyNOPE: cannot be opened*"])


def test_what_is_missing_is_named(bench: pytest.Pytester) -> None:
    result = run(bench)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*pytest needs --spikelet-board BOARD*"])
    result = run(bench, "--spikelet-board", "nativ")
    result.stdout.fnmatch_lines(["*did you mean 'native'*"])


def test_nothing_is_loaded_where_it_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    ours = {name for name in sys.modules if name.partition('.')[0] == 'spikelet'}\n"
        "    assert ours == {'spikelet', 'spikelet.version', 'spikelet.pytest_plugin'}\n"
        "    assert not {'torch', 'numpy', 'pydantic', 'serial'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "spikelet.pytest_plugin", "-p"]
    ended = subprocess.run(
        [*command, "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout


def test_pytest_finds_it_where_spikelet_is_installed(tmp_path: Path) -> None:
    """By the entry point of pyproject.toml, as a wheel has it; also beside `-p`."""
    project = tomllib.loads((HOUSE / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["pytest11"].items()
    site = tmp_path / "installed-1.dist-info"
    site.mkdir()
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: installed\nVersion: 1\n")
    (site / "entry_points.txt").write_text("[pytest11]\n{} = {}\n".format(*entry))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    for words in ([], ["-p", "spikelet.pytest_plugin"]):
        shown = subprocess.run(
            [sys.executable, "-m", "pytest", "--help", *words],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        assert "--spikelet-roster" in shown.stdout, shown.stderr


def test_the_fixture_does_not_load_torch(bench: pytest.Pytester) -> None:
    bench.makepyfile(
        "import sys\n"
        "def test_modules(spikelet_device):\n"
        "    spikelet_device.check(limit=1)\n"
        "    assert 'torch' not in sys.modules\n"
    )
    words = (*PLUGINS, "--spikelet-package", "small.spk")
    result = bench.runpytest_subprocess(*words, "--spikelet-board", "native")
    result.assert_outcomes(passed=1)
