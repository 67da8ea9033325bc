"""Packages and sessions that version 0.1.0 wrote load, run, report; what cannot go on says why."""

from __future__ import annotations

import hashlib
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cli_support import Spikelet
from spikelet import __version__
from spikelet.package import MEMBERS, Package, PackageError

OLD = Path(__file__).parents[1] / "fixtures" / "v0_1_0"
PACKAGES = sorted(path.stem for path in OLD.glob("*.spk"))
SESSIONS = {
    # session: complete, samples recorded, what asks for the same today
    "ran": (True, 12, ("run", "digits_snn.spk", "--limit", "12")),
    "ran_layers": (True, 8, ("run", "clouds.spk", "--limit", "8", "--layers")),
    "running": (False, 30, ("run", "digits_snn.spk", "--limit", "60")),
    "learned": (True, 60, ("learn", "clouds.spk", "--learner", "finetune")),
    "learning": (False, 15, ("learn", "clouds.spk", "--learner", "finetune")),
}


def test_all_kinds_are_there() -> None:
    assert set(PACKAGES) >= {"clouds", "clouds_replay", "digits_snn", "micro_speech"}
    assert {folder.name for folder in OLD.iterdir() if folder.is_dir()} == set(SESSIONS)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_loads_and_golden_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    path = OLD / f"{name}.spk"
    package = Package.load(path)
    with zipfile.ZipFile(path) as archive:
        assert package.sha256 == archive.read("sha256").decode().strip()
    package.save(tmp_path / "again.spk")
    again = Package.load(tmp_path / "again.spk")
    assert again.sha256 == package.sha256
    again.graph.name = "another"  # what is changed has a hash of its own
    assert again.sha256 != package.sha256
    stored = {k: v for k, v in package.vectors.items() if k.startswith("golden.")}
    outputs = package.graph.run(package.inputs).outputs
    for key, values in stored.items():
        np.testing.assert_array_equal(outputs[key.removeprefix("golden.")], values)
    assert stored or name == "clouds"


@pytest.mark.parametrize("name", ["clouds_replay", "digits_snn", "micro_speech"])
def test_a_package_runs(spikelet: Spikelet, name: str) -> None:
    done = spikelet("run", OLD / f"{name}.spk", "--board", "native", "--limit", 8, "--json")
    assert (done.code, done.json["samples"], done.json["mismatches"]) == (0, 8, 0)


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_reports(spikelet: Spikelet, name: str, tmp_path: Path) -> None:
    complete, samples, _ = SESSIONS[name]
    shutil.copytree(OLD / name, tmp_path / name)
    done = spikelet("report", name, "--json")
    assert done.code == 0
    assert (done.json["complete"], done.json["samples"]) == (complete, samples)
    assert done.json["mismatches"] == 0
    page = Path(done.json["report"]).read_text()
    assert "Layers</h2>" in page and "an inference" in page
    if name == "ran":
        assert "91.67" in page  # 11 of 12
    if name == "learned":
        assert "a learning step" in page and "finetune" in page


@pytest.mark.parametrize("name", ["running", "learning"])
def test_a_session_of_other_firmware_does_not_go_on_and_is_kept(
    spikelet: Spikelet, name: str, tmp_path: Path
) -> None:
    _, _, (verb, package, *options) = SESSIONS[name]
    if name == "learning":
        options += ["--stream", "class-incremental,tasks=4"]
    shutil.copytree(OLD / name, tmp_path / name)
    before = {p.name: p.read_bytes() for p in (OLD / name).iterdir()}
    done = spikelet(
        verb, OLD / package, "--board", "virt-rv32", "--toolchain", "zig", "--machine", "unicorn",
        *options, "--session", name, "--resume",
    )  # fmt: skip
    assert done.code == 2
    assert f"session {name} was written by Spikelet 0.1.0, this is {__version__}" in done.err
    # With a learner the package is made anew, and its zip depends on the Python that makes it.
    assert re.search(r"its (image|package)_sha256 is", done.err)
    assert "go on with Spikelet 0.1.0" in done.err
    assert {n: (tmp_path / name / n).read_bytes() for n in before} == before


def test_a_package_that_no_longer_loads_names_the_version_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "old.spk"
    with zipfile.ZipFile(OLD / "micro_speech.spk") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["graph.json"] = members["graph.json"].replace(b'"softmax"', b'"no_longer_there"')
    total = hashlib.sha256()
    for name in MEMBERS:
        total.update(f"{name}\0{hashlib.sha256(members[name]).hexdigest()}\0".encode())
    members["sha256"] = total.hexdigest().encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(PackageError, match="no_longer_there") as caught:
        Package.load(path)
    assert f"written by Spikelet '0.1.0', this is {__version__}" in caught.value.cause
