"""`spikelet learn` and its like: figures, needs told first, tuning apart, mistakes named."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli_support import LINK_KEYS, RUN_KEYS, Spikelet, serve
from learning_package import clouds, samples
from spikelet.learn.continual.streams import STREAMS, Block
from spikelet.learn.learner import learners
from spikelet.package import Package
from spikelet.run import SessionFolder
from spikelet.run.learning.play import _Player
from spikelet.run.session_page import write_report

STREAM = "class-incremental,tasks=4"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("learning") / "clouds.spk"
    clouds().save(path)
    return path


def arrays(path: Path, seed: int, **changed: Any) -> Path:
    x, y = samples(64, seed)
    x_test, y_test = samples(24, seed + 100)
    np.savez(path, **{"x": x, "y": y, "x_test": x_test, "y_test": y_test, **changed})
    return path


def learn(spikelet: Spikelet, package: Path, *more: object, learner: str = "nearest_mean") -> Any:
    return spikelet(
        "learn", package, "--board", "native", "--learner", learner, "--stream", STREAM, *more
    )


def test_a_stream_is_learned(spikelet: Spikelet, package: Path) -> None:
    result = learn(spikelet, package, "--json")
    found = result.json
    assert result.code == 0
    assert set(found) >= RUN_KEYS and set(found["link"]) >= LINK_KEYS
    # The package's 80 vectors: every fourth of a class is evaluated.
    assert (found["samples"], found["mismatches"], found["complete"]) == (60, 0, True)
    learning = found["learning"]
    assert learning["tasks"] == ["class 0", "class 1", "class 2", "class 3"]
    assert learning["evaluation_samples"] == [5, 5, 5, 5] and len(learning["curves"]) == 5
    assert learning["acc"] > 0.8 and learning["bwt"] <= 0
    assert [row["name"] for row in learning["baselines"]] == ["naive", "nearest_mean", "joint"]
    assert found["package_sha256"] != Package.load(package).sha256
    folder = Path("spikelet-sessions/clouds-native-nearest_mean")
    assert json.loads((folder / "session.json").read_text()) == found
    rows = found["build"]["layers"]
    work = [sum(r["macs"] for r in rows if (r["phase"] in ("learn", "commit")) is learns)
            for learns in (False, True)]  # fmt: skip
    assert found["build"]["totals"]["inference"]["macs"] == work[0] > 0 < work[1]
    view = write_report(SessionFolder(folder), Path("report.html"))
    assert [title for title, _ in view["layer_totals"]][:2] == ["an inference", "a learning step"]
    page = Path("report.html").read_text()
    assert f'an inference</th><td class="n"></td><td class="n">{work[0]:,}' in page.replace(
        "\u202f", ","
    )
    # What it takes is told before it starts.
    assert "learned state" in result.err and "B written to flash in 4 commits" in result.err
    assert result.err.index("learned state") < result.err.index("block 1 of 4, class 0")


def test_a_person_is_shown_what_was_learned(spikelet: Spikelet, package: Path) -> None:
    result = learn(spikelet, package, "--no-baselines")
    assert result.code == 0
    assert "mismatches         0" in result.out
    assert "class 3" in result.out and "▁▁▁▁" in result.out
    assert "naive" not in result.out
    report = spikelet("report", "spikelet-sessions/clouds-native-nearest_mean", "--json").json
    assert (report["samples"], report["mismatches"]) == (60, 0)
    page = Path(report["report"]).read_text(encoding="utf-8")
    assert "Accuracy, %, by task" in page and 'aria-label="Learning curves;' in page
    assert page.count("<svg") >= 2 and "http" not in page.replace("http://www.w3.org", "")


def test_options_are_tuned_on_other_data(spikelet: Spikelet, package: Path, tmp_path: Path) -> None:
    one, two = arrays(tmp_path / "one.npz", 11), arrays(tmp_path / "two.npz", 12)
    tuning = ("--tune", "metric=euclid:cosine", "--tune-on", one)
    found = learn(spikelet, package, "--data", two, *tuning, "--json").json["learning"]["tuned"]
    assert [trial["options"]["metric"] for trial in found["trials"]] == ["euclid", "cosine"]
    assert found["acc_tuned"] == max(trial["acc"] for trial in found["trials"])
    tuned = "spikelet-sessions/clouds-native-nearest_mean/tuned.json"
    again = learn(spikelet, package, "--data", two, "--tuned", tuned, "--json").json
    assert again["learning"]["tuned"] == found
    refused = learn(spikelet, package, "--data", one, "--tuned", tuned)
    assert refused.code == 2 and "no figure is reported: 24 of the 24" in refused.err
    refused = learn(spikelet, package, "--data", one, *tuning)
    assert refused.code == 2 and "no figure is reported" in refused.err


def test_a_learned_state_is_kept_and_taken_up(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    file = tmp_path / "learned.npz"
    plain = ("--no-baselines", "--json")
    first = learn(spikelet, package, "--save-state", file, *plain).json["learning"]
    assert max(first["curves"][0]) == 1 and first["acc"] > 0.8
    second = learn(spikelet, package, "--load-state", file, *plain).json["learning"]
    assert second["curves"][0] == first["curves"][-1]  # what it knew when it began
    other = learn(
        spikelet, package, "--load-state", file, "--session", "never",
        learner="nearest_mean,metric=cosine",
    )  # fmt: skip
    assert not Path("never/build").exists()  # refused before anything is built
    assert other.code == 2 and "it was saved from another model or learner" in other.err
    file.write_bytes(file.read_bytes()[:-20])
    cut = learn(spikelet, package, "--load-state", file)
    assert cut.code == 2 and "not a learned state" in cut.err


def test_a_delta_is_kept_of_what_fine_tuning_learned(
    spikelet: Spikelet, package: Path, tmp_path: Path
) -> None:
    file, options = tmp_path / "a.spkd", ("--no-baselines", "--session", "never")
    refused = learn(spikelet, package, "--save-delta", file, *options)
    assert refused.code == 2 and "no layer of the base learns" in refused.err
    assert not Path("never/build").exists()  # refused before anything is built
    refused = learn(spikelet, package, "--save-delta", ".", *options)
    assert refused.code == 2 and "give a file with --save-delta" in refused.err


def test_inspect_and_build_tell_what_a_learner_takes(spikelet: Spikelet, package: Path) -> None:
    found = spikelet("inspect", package, "--learn", "nearest_mean", "--json").json
    assert {layer["phase"] for layer in found["layers"]} >= {"once", "learn"}
    needs = found["learning"]["needs"]
    assert found["arena_bytes"] == needs["arena_bytes"] > needs["learned_bytes"] > 0
    shown = spikelet("inspect", package, "--learn", "nearest_mean").out
    assert "a learning step" in shown and "nearest_mean,metric=euclid" in shown
    for option in (("--features", "hidden"), ("--classes", 4), ("--data", "x.npz")):
        for command in (("inspect",), ("build", "-b", "native")):
            refused = spikelet(*command, package, *option)
            assert refused.code == 2 and f"{option[0]} without --learn" in refused.err
    built = spikelet("build", package, "-b", "native", "--learn", "nearest_mean", "--json").json
    assert built["package_sha256"] == found["package_sha256"]
    assert built["learning"]["learner"] == "nearest_mean"
    assert "native-nearest_mean" in built["elf"]


def test_learners_are_listed(spikelet: Spikelet) -> None:
    found = spikelet("learners", "--json").json
    names = [row["name"] for row in found["learners"]]
    assert "nearest_mean" in names and all(row["description"] for row in found["learners"])
    streams = {row["name"]: row["options"] for row in found["streams"]}
    assert streams["power-law"]["exponent"] == 1.0
    assert "--stream" in spikelet("learners").out


def test_the_options_of_a_learner_are_explained(spikelet: Spikelet) -> None:
    for name in [*learners(), *STREAMS]:
        found = spikelet("learners", name, "--json").json
        assert found["name"] == name
        for option in found["options"]:
            assert option["meaning"] and option["values"], (name, option)
    shown = spikelet("learners", "nearest_mean").out
    assert "euclid|cosine" in shown and "default" in shown
    refused = spikelet("learners", "nearest")
    assert refused.code == 2 and "neither a learner nor a stream" in refused.err


def test_a_learner_behind_a_port(spikelet: Spikelet, package: Path) -> None:
    chosen = ("--learn", "nearest_mean")
    built = spikelet("build", package, "-b", "native", *chosen, "--json").json
    plain = ("--no-baselines", "--json")
    here = learn(spikelet, package, *plain).json
    with serve(Path(built["elf"])) as (url, _):
        there = learn(spikelet, package, "--port", url, "--session", "port", *plain)
    assert (there.code, there.json["mismatches"]) == (0, 0)
    assert there.json["learning"] == here["learning"]
    assert there.json["image_sha256"] is None
    with serve(Path(built["elf"])) as (url, _):
        other = learn(
            spikelet, package, "--port", url, "--session", "other",
            learner="nearest_mean,metric=cosine",
        )  # fmt: skip
    assert other.code == 2 and "flash" in other.err and "Traceback" not in other.err


def test_ctrl_c_names_the_command_that_goes_on(
    spikelet: Spikelet, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a learner whose options are in part given and in part tuned."""
    options = ("--tune", "keys=8:16", "--tune-on", arrays(Path("other.npz"), 11), "--session", "s")
    options += ("--no-baselines", "--json")
    third = _Player.learn

    def interrupted(self: _Player, number: int, block: Block, first: int) -> None:
        if number == 2:
            raise KeyboardInterrupt
        third(self, number, block, first)

    with monkeypatch.context() as patched:
        patched.setattr(_Player, "learn", interrupted)
        broken = learn(spikelet, package, *options, learner="key_value,books=4")
    error = broken.json["error"]
    assert broken.code == 130 and "all until here is recorded in s" in error["what"]
    words = shlex.split(error["next"].split("`")[1])
    assert "--resume" in words and "s/tuned.json" in words and "--tune" not in words
    resumed = spikelet(*words[1:], "--json").json
    whole = learn(spikelet, package, *options, learner="key_value,books=4").json
    assert resumed["complete"] and resumed["mismatches"] == 0
    assert resumed["learning"] == whole["learning"]
    assert resumed["learning"]["options"]["books"] == 4


def test_run_names_the_command_that_learns(spikelet: Spikelet, package: Path) -> None:
    for option in (("--learn", "nearest_mean,metric=cosine"), ("--learn=nearest_mean",)):
        result = spikelet("run", package, "-b", "native", *option, "--stream", STREAM, "--json")
        error = result.json["error"]
        assert result.code == 2 and "`spikelet learn`" in error["what"]
        words = shlex.split(error["next"].strip("`"))
        assert words[:2] == ["spikelet", "learn"]
        assert spikelet(*words[1:]).json["mismatches"] == 0
    assert spikelet("run", package, "-b", "native", "--stream", STREAM).code == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("nearest",), "learner 'nearest' is not known"),
        (("nearest_mean,k=1",), "learner nearest_mean has no option 'k'"),
        (("nearest_mean,metric=1",), "metric=1 is not one of euclid, cosine"),
        (("nearest_mean", "--stream", "sorted"), "stream 'sorted' is not known"),
        (("nearest_mean", "--stream", "iid,tasks=2"), "independent samples are one"),
        (("nearest_mean", "--stream", "class-incremental,tasks=9"), "4 classes for"),
        (("nearest_mean", "--features", "hiden"), "computes no tensor 'hiden'"),
        (("nearest_mean", "--classes", 3), "label 3 of training sample"),
        (("nearest_mean", "--limit", 3), "No such option: --limit"),
        (("nearest_mean,metric=cosine", "--tuned", "x.json"), "beside --learner nearest_mean,m"),
        (("nearest_mean", "--tune", "metric=cosine", "--tuned", "x.json"), "x.json beside --tune"),
        (("nearest_mean", "--tune-on", "x.npz", "--tuned", "x.json"), "x.json beside --tune-on"),
        (("nearest_mean", "--baud", 9600), "--baud 9600 without --port"),
        (("nearest_mean", "--port", "/dev/x", "--machine", "qemu"), "--machine qemu beside --port"),
        (("nearest_mean", "--tune-on", "x.npz"), "--tune-on x.npz without --tune"),
        (("nearest_mean", "--tune", "metric"), "--tune metric: expected option=value"),
        (("nearest_mean", "--tuned", "none.json"), "tuning none.json: cannot be read"),
        (("nearest_mean", "--data", "none.npz"), "--data none.npz: no such file"),
        (("nearest_mean", "--resume"), "session spikelet-sessions/clouds-native"),
        (("nearest_mean", "--data", "clods"), "no data set of that name"),
        (("nearest_mean", "--features", "x"), "it is an input"),
        (("nearest_mean", "--save-state", "."), "give a file with --save-state"),
    ],
)  # fmt: skip
def test_every_mistake_is_named(
    spikelet: Spikelet, package: Path, options: tuple[object, ...], expected: str
) -> None:
    result = spikelet("learn", package, "--board", "native", "--learner", *options)
    assert result.code == 2
    assert expected in " ".join(result.err.split())
    assert "next:" in result.err


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"y": np.full(64, -1)}, "label -1 of sample 0 is negative"),
        ({"y": np.full(64, 70000)}, "y spans 70000 to 70000"),
        ({"y": np.zeros(63, np.int64)}, "y is int64 of shape (63,)"),
        ({"x": np.full((64, 8), np.nan)}, "x[0, 0] is nan"),
        ({"x": np.zeros((64, 7), np.int8)}, "x has shape (64, 7)"),
        ({"x": np.full((64, 8), 1e6)}, "x spans 1e+06 to 1e+06"),
    ],
)
def test_bad_data_is_named(
    spikelet: Spikelet, package: Path, tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    result = learn(spikelet, package, "--data", arrays(tmp_path / "d.npz", 0, **changed))
    assert result.code == 2
    assert expected in result.err


def test_a_learner_that_does_not_fit_is_refused_before_it_is_built(
    spikelet: Spikelet, package: Path
) -> None:
    result = spikelet(
        "learn", package, "--board", "microbit", "--learner", "nearest_mean", "--classes", 400
    )
    assert result.code == 2
    assert "the learner needs an arena of" in result.err and "microbit has" in result.err
    assert not Path("spikelet-sessions/clouds-microbit-nearest_mean/build").exists()
