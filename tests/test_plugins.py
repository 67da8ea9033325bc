"""Plug-ins: one that is installed works on devices; what is broken is named and breaks nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import need

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the example."""
    source = shutil.copytree(PLUGIN, tmp_path_factory.mktemp("source") / "plugin")
    target = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    options = ["--no-index", "--no-build-isolation", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, *options, str(source)], check=True, timeout=120)
    return target


def python(site: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A Python of its own, where the packages of `site` are installed."""
    path = [*([str(site)] if site else []), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
        capture_output=True,
        text=True,
        timeout=300,
    )


def spikelet(site: Path | None, *arguments: str) -> tuple[int, dict[str, object]]:
    done = python(site, "-m", "spikelet", *arguments, "--json")
    return done.returncode, json.loads(done.stdout)


def checks(site: Path) -> dict[str, dict[str, object]]:
    """The doctor's lines about plug-ins."""
    _, said = spikelet(site, "doctor")
    found = said["checks"]
    assert isinstance(found, list)
    return {c["name"]: c for c in found if c["name"].startswith("plug-in ")}


@pytest.mark.parametrize(
    ("board", "machine", "tool"),
    [
        ("native", "native", "gcc"),
        ("example-rv32", "qemu", "qemu-system-riscv32"),
    ],
)
def test_what_it_adds_runs_on_devices(
    board: str, machine: str, tool: str, site: Path, tmp_path: Path
) -> None:
    need(tool)
    done = python(site, str(PLUGIN / "use.py"), str(tmp_path), board, machine)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"outputs": 0, "learned": [], "samples": 60}
    options = ["--board", board, "--machine", machine, "--layers"]
    options += ["--session", str(tmp_path / "session")]
    code, said = spikelet(site, "run", str(tmp_path / "median.spk"), *options)
    assert (code, said["mismatches"], said["samples"]) == (0, 0, 60)


def test_it_is_listed(site: Path) -> None:
    found = checks(site)["plug-in spikelet-example"]
    assert found["ok"]
    for part in ("operator example_median3", "learner example_moving_mean", "board example-rv32"):
        assert part in str(found["found"])
    _, said = spikelet(site, "boards")
    boards = said["boards"]
    assert isinstance(boards, list) and "example-rv32" in {b["name"] for b in boards}


def test_a_package_names_the_plug_in_that_it_needs(site: Path, tmp_path: Path) -> None:
    make = (
        "import sys, use, dataclasses, numpy as np\n"
        "raw = use.identity((8,))\n"
        "node = use.operators()['example_median3'](name='m', inputs=('features',))\n"
        "graph = dataclasses.replace(raw, nodes=[*raw.nodes, node], outputs=['m'])\n"
        "p = use.Package(graph, {'x': np.zeros((2, 8), np.int8)}).with_golden()\n"
        "p.save(sys.argv[1])\n"
        "q = use.Package.load(sys.argv[1])\n"
        "assert p.sha256 == q.sha256 and q.manifest['plugins'] == {'spikelet-example': '1.0'}\n"
    )
    path = str(tmp_path / "m.spk")
    done = python(site, "-c", f"import sys\nsys.path.insert(0, {str(PLUGIN)!r})\n{make}", path)
    assert done.returncode == 0, done.stderr
    code, said = spikelet(None, "inspect", path)
    assert code == 2
    error = said["error"]
    assert isinstance(error, dict)
    assert "plug-in spikelet-example '1.0', which is not installed" in error["what"]
    assert error["next"].startswith("pip install spikelet-example ")
    assert "a plug-in is code" in error["next"]


BROKEN = {
    "raises": ("import nothing_of_that_name\n", {}, "No module named 'nothing_of_that_name'"),
    "exits": ("raise SystemExit('stop')\n", {}, "SystemExit: stop"),
    "kind": (
        "from spikelet.graph.operator import Operator\nclass A(Operator):\n    KIND = 5\n",
        {},
        "A.KIND is 5, expected an identifier",
    ),
    "operator": (
        "from spikelet.graph.operator import Operator\nclass A(Operator):\n    KIND = 'relu'\n",
        {},
        "operator 'relu' clashes with the one of Spikelet",
    ),
    "network": (
        "from spikelet.quantise.operator import NetworkOperator\n"
        "class A(NetworkOperator):\n    OP = 'Relu'\n",
        {},
        "network operator 'Relu' clashes with the one of Spikelet",
    ),
    "learner": (
        "from spikelet.learn.learner import Learner\nclass A(Learner):\n    NAME = 'ladder'\n",
        {},
        "learner 'ladder' clashes with the one of Spikelet",
    ),
    "shadows": ("", {"firmware/kernels/lif.h": ""}, "header kernels/lif.h clashes with"),
    "header": ('def f(em):\n    em.include("nowhere.h")\n', {}, "header nowhere.h, which"),
    "includes": ("", {"firmware/a/b.h": '#include "a/c.h"\n'}, "header a/c.h, which"),
    "board": ("", {"boards/native/board.toml": 'extends = "virt-rv32"\n'}, "has no name"),
    "taken": (
        "",
        {"boards/n/board.toml": 'name = "native"\ndescription = "d"\nextends = "virt-rv32"\n'},
        "board 'native' clashes with the one of Spikelet",
    ),
}


def install(site: Path, name: str, code: str, files: dict[str, str], value: str = "") -> None:
    """A package and its metadata, as an installer leaves them."""
    info = site / f"{name}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[spikelet.plugins]\n{name} = {value or name}\n")
    package = site / name
    package.mkdir()
    (package / "__init__.py").write_text(code)
    for file, text in files.items():
        (package / file).parent.mkdir(parents=True, exist_ok=True)
        (package / file).write_text(text)


def test_broken_ones_are_named_and_break_nothing_else(site: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(site, tmp_path / "site"))
    for name, (code, files, _) in BROKEN.items():
        install(mixed, f"b_{name}", code, files)
    install(mixed, "b_module", "", {"one.py": ""}, "b_module.one")
    install(mixed, "b_twice", "", {"firmware/example/median3.h": ""})
    install(mixed, "z_twice", "", {"firmware/example/median3.h": ""})
    found = checks(mixed)
    for name, (_, _, words) in BROKEN.items():
        check = found[f"plug-in b_{name}"]
        assert not check["ok"] and check["broken"] and words in str(check["found"]), check
        assert f"pip install --upgrade b_{name}" in str(check["fix"])
    assert "is a module, and a plug-in is a package" in str(found["plug-in b_module"]["found"])
    # By name: b_twice comes first and has the header, the example and z_twice clash with it.
    assert found["plug-in b_twice"]["ok"]
    assert "clashes" in str(found["plug-in z_twice"]["found"])
    assert "clashes" in str(found["plug-in spikelet-example"]["found"])
    code, said = spikelet(mixed, "learners")
    names = said["learners"]
    assert code == 0 and isinstance(names, list)
    assert names == spikelet(None, "learners")[1]["learners"]


def test_nothing_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    install(tmp_path / "site", "marks", f"open({str(mark)!r}, 'w').close()\n", {})
    done = python(tmp_path / "site", "-m", "spikelet", "--version")
    assert done.returncode == 0 and not mark.exists()
    assert checks(tmp_path / "site")["plug-in marks"]["ok"] and mark.exists()
