"""Mistakes that are told before any work is done."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from cli_support import Spikelet
from spikelet.paths import models_dir


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> NoReturn:
        raise AssertionError("it trains before it looks where the package goes")

    monkeypatch.setattr(importlib.import_module("spikelet.train"), "train", never)
    monkeypatch.setattr("spikelet.cli.demo_steps.train", never)


@pytest.mark.usefixtures("untrained")
def test_where_a_package_goes_is_checked_before_the_training(spikelet: Spikelet) -> None:
    Path("file").write_text("")
    Path("folder/digits_snn.spk").mkdir(parents=True)
    for arguments, said in (
        (("train", "digits_snn", "-o", "folder"), "folder: is a folder"),
        (("train", "digits_snn", "-o", "file/x.spk"), "file"),
        (("train", "digits_snn", "-o", "/proc/x.spk"), "/proc: cannot be written"),
        (("train", "digits_snn", "-o", ""), "the path is empty"),
        (("demo", "-o", "file"), "file: is a file"),
        (("demo", "-o", "file/below"), "file/below: file is a file"),
        (("demo", "-o", "/proc/below"), "/proc/below: cannot be written in /proc"),
        (("demo", "-o", "folder"), "digits_snn.spk: is a folder"),
    ):
        result = spikelet(*arguments, "--json")
        assert result.code == 2 and said in result.json["error"]["what"], (arguments, result)


@pytest.mark.usefixtures("untrained")
def test_the_default_place_is_checked_too(spikelet: Spikelet) -> None:
    Path("digits_snn.spk").mkdir()
    result = spikelet("train", "digits_snn")
    assert result.code == 2 and "digits_snn.spk: is a folder" in result.err


def test_a_port_takes_no_machine_and_no_toolchain(spikelet: Spikelet, package: Path) -> None:
    run = ("run", package, "-b", "native")
    for options, said in (
        (("--port", "socket://127.0.0.1:1", "--machine", "native"), "--machine native beside"),
        (("--port", "socket://127.0.0.1:1", "--toolchain", "gcc"), "--toolchain gcc beside"),
        (("--port", ""), "--port is empty"),
        (("--session", ""), "the path is empty"),
    ):
        result = spikelet(*run, *options, "--json")
        assert result.code == 2 and said in result.json["error"]["what"], (options, result)
    assert not Path("spikelet-sessions").exists()


def test_a_folder_is_not_a_package(spikelet: Spikelet) -> None:
    Path("DIR.spk").mkdir()
    for arguments in (
        ("run", "DIR.spk", "-b", "native"),
        ("inspect", "DIR.spk"),
        ("demo", "--package", "DIR.spk"),
    ):
        result = spikelet(*arguments, "--json")
        assert result.code == 2
        assert result.json["error"]["what"] == "package DIR.spk: is a folder, not a file"


def test_where_a_report_goes(spikelet: Spikelet, package: Path) -> None:
    assert spikelet("run", package, "-b", "native", "--limit", 2, "--session", "s").code == 0
    for out, said in (
        ("-", "not to standard output"),
        ("nowhere/report.html", "the folder nowhere does not exist"),
        ("s", "s: is a folder"),
    ):
        result = spikelet("report", "s", "-o", out, "--json")
        assert result.code == 2 and said in result.json["error"]["what"], (out, result)
    assert not Path("-").exists() and not Path("nowhere").exists()


GOOD = (models_dir() / "digits_snn" / "model.py").read_text()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nn.Linear(HIDDEN, classes", "nn.Linear(HIDDEN + 1, classes", "it takes 145 inputs"),
        ("nn.Linear(inputs, HIDDEN", "nn.Linear(inputs + 1, HIDDEN", "it takes 65 inputs"),
        ("nn.Linear(HIDDEN, classes", "nn.Linear(HIDDEN, 3", "it has 3 outputs"),
        ("    return nn.Seq", "    net = nn.Seq", "weight holds NaN or infinity in 1 of"),
    ],
)
def test_a_model_that_cannot_be_trained(spikelet: Spikelet, old: str, new: str, said: str) -> None:
    pytest.importorskip("snntorch")
    text = GOOD.replace(old, new)
    assert text != GOOD
    if "net = " in text:
        text += "    nn.init.constant_(net[0].weight[2, 3], float('nan'))\n    return net\n"
    Path("mine").mkdir()
    Path("mine/model.py").write_text(text)
    Path("mine/recipe.toml").write_text((models_dir() / "digits_snn" / "recipe.toml").read_text())
    result = spikelet("train", "mine", "-o", "mine.spk", "--json")
    assert result.code == 2 and said in result.json["error"]["what"], result.err
    assert result.json["error"]["what"].startswith("layer ")
    assert not Path("mine.spk").exists()


def test_that_a_recipe_is_code_is_said_before_it_runs(spikelet: Spikelet) -> None:
    pytest.importorskip("snntorch")
    Path("mine").mkdir()
    Path("mine/model.py").write_text("import sys\nsys.stderr.write('it ran')\nraise OSError('x')\n")
    Path("mine/recipe.toml").write_text((models_dir() / "digits_snn" / "recipe.toml").read_text())
    for json in ([], ["--json"]):
        result = spikelet("train", "mine", "-o", "mine.spk", *json)
        said = result.err.index("this runs the Python code of mine/model.py")
        assert result.code == 2 and said < result.err.index("it ran")


@pytest.mark.parametrize("module", ["torch", "snntorch", "sklearn"])
def test_no_recipe_is_announced_where_nothing_trains(
    spikelet: Spikelet, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    for command in (("demo",), ("train", "digits_snn")):
        result = spikelet(*command)
        assert result.code == 2 and f"training needs the package {module}" in result.err
        assert "this runs" not in result.err


def test_the_commands_are_listed_with_whole_sentences(spikelet: Spikelet) -> None:
    said = spikelet("--help").out
    assert "..." not in said.partition("Commands:")[2]
    assert "with a report." in " ".join(said.split())


def test_a_package_in_the_place_of_a_session_is_called_so(
    spikelet: Spikelet, package: Path
) -> None:
    done = spikelet("report", package)
    assert done.code == 2 and "is a file, not a session's folder" in done.err
    assert f"spikelet run {package}" in " ".join(done.err.split())
    done = spikelet("run", package, "--board", "native", "--data", ".")
    assert done.code == 2 and "is a folder, not a file" in done.err
