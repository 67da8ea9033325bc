"""Signed packages and deltas: what is forged, old, foreign, truncated or signed anew is refused."""

from __future__ import annotations

import dataclasses
import json
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from adapter_graphs import drawn_values
from cli_support import Spikelet
from int8_classifier import classifier
from learning_package import clouds
from monocypher import monocypher
from spikelet import signing
from spikelet.cli.app import COMMANDS, app
from spikelet.errors import UsageError
from spikelet.graph.adapted import form
from spikelet.learn.delta import Delta, prepared
from spikelet.package import Package, PackageError
from spikelet.signing import DELTA, PACKAGE, SignatureError, make_keys, sign, signature_path

pytest.importorskip("cryptography")


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    key = tmp_path / "release.key"
    return key, make_keys(key)


@pytest.fixture
def signed(package: Path, tmp_path: Path, keys: tuple[Path, Path]) -> Path:
    file = tmp_path / "copy.spk"
    file.write_bytes(package.read_bytes())
    sign(file, keys[0], PACKAGE, Package.unsigned(file).graph.name)
    return file


def refused(file: Path, trusted: Path, words: str) -> None:
    """It is refused before anything of it is read."""
    with pytest.raises(SignatureError, match=words):
        Package.load(file, trusted)


def test_from_keys_to_a_run(spikelet: Spikelet, package: Path) -> None:
    assert spikelet("keygen", "mine.key").code == 0
    assert stat.S_IMODE(Path("mine.key").stat().st_mode) == 0o600
    again = spikelet("keygen", "mine.key", "--json")
    assert again.code == 2 and "is there already" in again.json["error"]["what"]
    Path("p.spk").write_bytes(package.read_bytes())
    run = ("run", "p.spk", "-b", "native", "--limit", 1, "--trusted", "mine.key.pub", "--json")
    before = spikelet(*run)
    assert before.code == 2 and "it is not signed" in before.json["error"]["what"]
    made = spikelet("sign", "p.spk", "--key", "mine.key", "--json").json
    assert (made["kind"], made["counter"]) == ("package", 1)
    assert spikelet(*run).json["mismatches"] == 0
    seen = json.loads(Path("mine.key.pub.seen").read_text())
    assert seen == {f"package {made['name']}": [1, made["sha256"]]}
    assert spikelet("sign", "p.spk", "--key", "mine.key", "--json").json["counter"] == 2
    for command in ("inspect", "build"):
        assert spikelet(command, "p.spk", "-b", "native", "--trusted", "mine.key.pub").code == 0
        assert spikelet(command, package, "-b", "native", "--trusted", "mine.key.pub").code == 2


# Commands that take a package, and what else they must be given.
OPENING: dict[str, tuple[str, ...]] = {
    "adapt": ("--data", "d.npz"), "allocate": ("--budget", "flash=50%"),
    "bench": ("--board", "native"), "build": ("--board", "native"), "compare": ("p.spk",),
    "cycles": (), "demo": (), "export": ("--c", "out"), "fit": (), "flash": ("--board", "pico2"),
    "inspect": (), "learn": ("--board", "native", "--learner", "nearest_mean", "--stream", "s.npz"),
    "run": ("--board", "native"), "shorten": ("--data", "d.npz"),
}  # fmt: skip
NOT_OPENING = {"sign"}  # it signs what nobody has signed yet


def test_every_command_that_takes_a_package_can_ask_for_a_signature() -> None:
    group: Any = typer.main.get_command(app)
    takes = {}
    for name in COMMANDS:
        given = group.get_command(None, name).params
        if any("PKG" in (p.metavar or "") or p.metavar == "A" for p in given):
            takes[name] = {p.name for p in given}
    assert set(takes) == set(OPENING) | NOT_OPENING
    assert [name for name in OPENING if "trusted" not in takes[name]] == []


@pytest.mark.parametrize("command", ["cycles", "shorten", "allocate", "compare", "demo"])
def test_a_command_refuses_what_is_not_signed(
    spikelet: Spikelet, package: Path, keys: tuple[Path, Path], command: str
) -> None:
    Path("p.spk").write_bytes(package.read_bytes())
    np.savez("d.npz", x=np.zeros((1, 1)), y=np.zeros(1))
    given = ("--package", "p.spk") if command == "demo" else ("p.spk",)
    told = spikelet(command, *given, *OPENING[command], "--trusted", keys[1], "--json")
    assert told.code == 2 and "it is not signed" in told.json["error"]["what"]


def test_what_is_truncated_or_altered_is_refused(signed: Path, keys: tuple[Path, Path]) -> None:
    whole, beside = signed.read_bytes(), signature_path(signed)
    assert Package.load(signed, keys[1]).graph.name
    for data in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"):
        signed.write_bytes(data)
        refused(signed, keys[1], "not the file that was signed")
    for at in range(0, len(whole), len(whole) // 40):
        signed.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        refused(signed, keys[1], "not the file that was signed")
    signed.write_bytes(whole)
    text = beside.read_bytes()
    for end in range(0, len(text) - 1, 37):
        beside.write_bytes(text[:end])
        refused(signed, keys[1], "not a signature")
    beside.unlink()
    refused(signed, keys[1], "it is not signed")


def test_every_field_of_a_signature_is_signed(signed: Path, keys: tuple[Path, Path]) -> None:
    beside = signature_path(signed)
    good = json.loads(beside.read_text())
    for name, value in (
        ("kind", "delta"), ("name", "other"), ("counter", 2), ("sha256", "0" * 64),
        ("signature", "00" * 64), ("signature", good["signature"][:-2]), ("signature", "x"),
    ):  # fmt: skip
        beside.write_text(json.dumps({**good, name: value}))
        refused(signed, keys[1], "its signature is not one of key")
    for name, value in (("format", 2), ("counter", -1), ("counter", True), ("more", 1)):
        beside.write_text(json.dumps({**good, name: value}))
        refused(signed, keys[1], "not a signature")


def test_another_key_is_refused_whatever_it_says(
    signed: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """A stranger signs the file anew, and then claims to be the key that is trusted."""
    beside = signature_path(signed)
    good = json.loads(beside.read_text())
    theirs = tmp_path / "their.key"
    make_keys(theirs)
    sign(signed, theirs, PACKAGE, good["name"], 9)
    refused(signed, keys[1], "it is signed by key .* not by")
    anew = json.loads(beside.read_text())
    beside.write_text(json.dumps({**anew, "key": good["key"]}))
    refused(signed, keys[1], "its signature is not one of key")


def test_nothing_goes_back(signed: Path, keys: tuple[Path, Path], package: Path) -> None:
    beside, (key, public) = signature_path(signed), keys
    old = beside.read_bytes()
    name = json.loads(old)["name"]
    Package.load(signed, public)
    Package.load(signed, public)  # the same again
    sign(signed, key, PACKAGE, name, 5)
    Package.load(signed, public)
    beside.write_bytes(old)
    refused(signed, public, "has the counter 1, 5 was seen already")
    one = Package.unsigned(signed)
    Package(one.graph, one.vectors, {**one.manifest, "seed": 77}).save(signed)
    sign(signed, key, PACKAGE, name, 5)
    refused(signed, public, "another package .* of the counter 5")
    sign(signed, key, PACKAGE, name, 6)
    Package.load(signed, public)
    public.with_name(public.name + ".seen").write_text("[]")
    with pytest.raises(UsageError, match="does not hold the counters that were seen"):
        Package.load(signed, public)


def test_a_refused_file_leaves_no_trace(signed: Path, keys: tuple[Path, Path]) -> None:
    """Signed, and no package: nothing is remembered of it."""
    signed.write_bytes(b"not a zip")
    sign(signed, keys[0], PACKAGE, "digits", 7)
    with pytest.raises(PackageError, match="not a readable zip"):
        Package.load(signed, keys[1])
    assert not keys[1].with_name(keys[1].name + ".seen").exists()


def test_a_signature_is_for_one_model(signed: Path, keys: tuple[Path, Path]) -> None:
    sign(signed, keys[0], PACKAGE, "another_model")
    refused(signed, keys[1], "its signature names package another_model, it holds")
    sign(signed, keys[0], DELTA, Package.unsigned(signed).graph.name)
    refused(signed, keys[1], "what was signed is a delta, not a package")


def test_the_variable_asks_for_a_signature_everywhere(
    signed: Path, package: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(signing.TRUSTED, str(keys[1]))
    Package.load(signed)
    with pytest.raises(SignatureError, match="it is not signed"):
        Package.load(package)
    assert Package.unsigned(package).graph.name


def test_files_that_are_no_keys_are_told(signed: Path, keys: tuple[Path, Path]) -> None:
    for trusted in (keys[0], signed):
        with pytest.raises(UsageError, match="not an Ed25519 public key"):
            Package.load(signed, trusted)
    with pytest.raises(UsageError, match="not an Ed25519 private key"):
        sign(signed, keys[1], PACKAGE, "x")
    with pytest.raises(UsageError, match="cannot be read"):
        Package.load(signed, keys[0].with_name("none"))


def test_deltas_are_signed_for_their_base(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    adapter = form("low_rank", 2, None, False)
    base = Package(classifier())
    node = next(node for node in base.graph.nodes if hasattr(node, "bias"))
    changed = dataclasses.replace(node, bias=np.asarray(node.bias) + 1)
    nodes = [changed if one is node else one for one in base.graph.nodes]
    foreign = Package(dataclasses.replace(base.graph, nodes=nodes))
    values = prepared(base, adapter).graph.initial()
    delta = Delta.of(base.graph, adapter, values)
    file = tmp_path / "night.spkd"
    delta.save(file)
    with pytest.raises(SignatureError, match="it is not signed"):
        Delta.load(file, base, keys[1])
    sign(file, keys[0], DELTA, "night", 3)
    assert Delta.load(file, base, keys[1]).sha256 == delta.sha256
    with pytest.raises(UsageError, match="the delta is for base"):
        Delta.load(file, foreign, keys[1])
    sign(file, keys[0], DELTA, "night", 2)
    with pytest.raises(SignatureError, match="has the counter 2, 3 was seen already"):
        Delta.load(file, base, keys[1])


def test_a_state_for_devices_has_the_delta_s_counter(
    spikelet: Spikelet, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    adapter = form("low_rank", 2, None, False)
    base = Package(classifier(), {"x": np.zeros((1, 6, 7, 3), np.int8)}).with_golden()
    delta = Delta.of(base.graph, adapter, prepared(base, adapter).graph.initial())
    file, spk = tmp_path / "night.spkd", tmp_path / "base.spk"
    delta.save(file)
    base.save(spk)
    asked = ("sign", file, "--key", keys[0], "--package", spk, "--counter", 9, "--json")
    made = spikelet(*asked).json
    assert Path(made["state"]).read_bytes() == delta.signed_state(base, keys[0], 9)
    wrong = spikelet("sign", spk, "--key", keys[0], "--package", spk, "--json")
    assert wrong.code == 2 and "--package" in wrong.json["error"]["what"]


def test_a_device_with_a_key_is_sent_what_was_signed(
    spikelet: Spikelet, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    monocypher()
    adapter, x = form("low_rank", 2, None, False), np.zeros((1, 6, 7, 3), np.int8)
    base = Package(classifier(), {"x": x}).with_golden()
    drawn = drawn_values(prepared(base, adapter).graph, np.random.default_rng(1), None)
    file, spk = tmp_path / "night.spkd", tmp_path / "base.spk"
    Delta.of(base.graph, adapter, drawn).save(file)
    base.save(spk)
    run = ("run", spk, "-b", "native", "--device-key", keys[1], "--delta", file, "--json")

    def refused(words: str) -> None:
        done = spikelet(*run)
        assert done.code == 2 and words in done.json["error"]["what"], done

    refused("NAME.spkd.state, is missing")
    state = Path(spikelet(*sign_for(file, keys[0], spk), "--json").json["state"])
    assert spikelet(*run).json["mismatches"] == 0
    good = state.read_bytes()
    state.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused("the device answered SIGNATURE")
    state.write_bytes(good[:9] + bytes([good[9] ^ 1]) + good[10:])
    refused("is of other values")
    state.write_bytes(good)
    built = spikelet("build", spk, "-b", "native", "--device-key", keys[1], "--json")
    assert built.code == 2 and "nothing that a signed state" in built.json["error"]["what"]
    elf = Path(sys.executable).resolve()
    image = ("flash", elf, "--board", "pico2", "--device-key", keys[1], "--json")
    assert "so nothing is built" in spikelet(*image).json["error"]["what"]


def test_a_device_with_a_key_is_sent_the_learned_state_that_was_signed(
    spikelet: Spikelet, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """Learned on a device without a key; a device with one goes on from it, as golden does."""
    monocypher()
    (key, public), spk, file = keys, tmp_path / "clouds.spk", tmp_path / "hand.npz"
    clouds().save(spk)
    plain = (
        "learn", spk, "-b", "native", "--learner", "nearest_mean", "--stream", "iid,samples=20",
        "--no-baselines",
    )  # fmt: skip
    first = spikelet(*plain, "--save-state", file, "--json").json["learning"]
    again = (*plain, "--load-state", file, "--device-key", public, "--json")

    def refused(words: str, *more: object) -> None:
        done = spikelet(*again, *more)
        assert done.code == 2 and words in done.json["error"]["what"], done

    refused("NAME.npz.state, is missing")
    sign(spk, key, PACKAGE, Package.unsigned(spk).graph.name)
    refused("hand.npz: it is not signed", "--trusted", public)
    wrong = spikelet("sign", file, "--key", key, "--package", spk, "--json")
    assert wrong.code == 2 and "--package" in wrong.json["error"]["what"]
    made = spikelet("sign", file, "--key", key, "--json").json
    assert (made["kind"], made["name"], made["counter"]) == ("state", "hand", 1)
    done = spikelet(*again, "--trusted", public).json
    assert done["mismatches"] == 0
    assert done["learning"]["curves"][0] == first["curves"][-1]  # what it knew when it began
    state = Path(made["state"])
    good = state.read_bytes()
    state.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refused("the device answered SIGNATURE")
    state.write_bytes(good[:9] + bytes([good[9] ^ 1]) + good[10:])
    refused("is of other values")
    old = file.with_name("hand.npz.sig").read_bytes()
    assert spikelet("sign", file, "--key", key, "--json").json["counter"] == 2
    assert spikelet(*again, "--trusted", public).json["mismatches"] == 0
    file.with_name("hand.npz.sig").write_bytes(old)
    refused("has the counter 1, 2 was seen already", "--trusted", public)


def sign_for(delta: Path, key: Path, package: Path) -> tuple[str | Path, ...]:
    return ("sign", delta, "--key", key, "--package", package)


def test_an_image_for_mcuboot(
    spikelet: Spikelet, package: Path, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    pytest.importorskip("imgtool")
    asked = ("build", package, "-b", "nrf52840-dk", "--mcuboot", keys[0], "-o", tmp_path / "made")
    made = spikelet(*asked, "--image-version", "2.0.1", "--json").json
    image = Path(made["signed"])
    assert image.name == "firmware.signed.bin" and image.read_bytes()[20:24] == bytes([2, 0, 1, 0])
    assert image.with_suffix(".hex").is_file()
    other = spikelet("build", package, "-b", "native", "--mcuboot", keys[0], "--json")
    assert other.code == 2 and "names no slot of MCUboot" in other.json["error"]["what"]
