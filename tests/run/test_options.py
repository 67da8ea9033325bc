"""What a session is asked for: checked once, and written as the command line that asks for it."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from spikelet.board import find_board
from spikelet.cli.app import app
from spikelet.errors import UsageError
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.session_options import RunOptions, SessionOptions

VERBS: dict[str, type[SessionOptions]] = {"run": RunOptions, "learn": LearnOptions}
P = Path("a package.spk")
# Every option of every verb, at another value than its default.
GIVEN: list[tuple[type[SessionOptions], dict[str, Any]]] = [
    (RunOptions, {"port": "/dev/ttyACM0", "baud": 9600, "data": Path("my data.npz"), "limit": 3}),
    (RunOptions, {"machine": "qemu", "toolchain": "zig", "session": Path("s"), "resume": True}),
    (RunOptions, {"layers": True, "arena": 4096, "delta": Path("a.spkd")}),
    (RunOptions, {"trusted": Path("k.pub"), "device_key": Path("d.pub")}),
    (RunOptions, {"port": "/dev/ttyACM0", "flash": True, "faults": 7}),
    (RunOptions, {"data": Path("a.bin"), "bin_us": 1000, "keep_state": True, "realtime": True}),
    (LearnOptions, {"learner": "key_value,books=4", "stream": "iid,samples=9", "data": "digits"}),
    (LearnOptions, {"learner": "nearest_mean", "features": "hidden", "classes": 7}),
    (LearnOptions, {"learner": "nearest_mean", "load_state": Path("a"), "save_state": Path("b")}),
    (LearnOptions, {"learner": "finetune,update=head", "save_delta": Path("b.spkd")}),
    (LearnOptions, {"learner": "key_value", "tune": ("books=4:8", "keys=2:4"), "tune_on": "x.npz"}),
    (LearnOptions, {"learner": "key_value", "tuned": Path("t.json"), "baselines": False}),
]  # fmt: skip


def parse(words: list[str]) -> SessionOptions:
    """What the command line makes of a command."""
    command: Any = typer.main.get_command(app)
    verb = command.get_command(None, words[1])
    given = verb.make_context(words[1], words[2:]).params
    assert given.pop("as_json") is False
    assert given.pop("package") == P
    for bench in ("roster", "wait"):  # many sessions: RosterOptions
        given.pop(bench, None)
    if "tune" in given:
        given["tune"] = tuple(given["tune"] or ())
    return VERBS[words[1]](**given)


def test_every_option_is_given_somewhere() -> None:
    for kind in VERBS.values():
        named = {name for k, given in GIVEN for name in given if issubclass(kind, k)}
        named |= {name for k, given in GIVEN for name in given if k is RunOptions}
        fields = {field.name for field in dataclasses.fields(kind)} - {"board"}
        assert fields <= named


@pytest.mark.parametrize(("kind", "given"), GIVEN)
def test_the_command_asks_for_the_same(kind: type[SessionOptions], given: dict[str, Any]) -> None:
    options = kind(board="native", **given)
    words = options.command(P)
    assert shlex.split(shlex.join(words)) == words
    assert parse(words) == options


@pytest.mark.parametrize("kind", VERBS.values())
def test_what_is_not_given_is_left_out(kind: type[SessionOptions]) -> None:
    more = {"learner": "nearest_mean"} if kind is LearnOptions else {}
    words = kind(board="native", **more).command(P)
    assert kind(board=find_board("native"), **more).command(P) == words
    expected = ["spikelet", kind.VERB, str(P), "--board", "native"]
    assert words == expected + [word for k, v in more.items() for word in (f"--{k}", v)]


def test_a_session_that_was_tuned_goes_on_with_the_options_that_were_chosen() -> None:
    options = LearnOptions(
        board="native", learner="key_value,size=4", tune=("books=4:8",), tune_on="x.npz"
    )
    again = options.to_resume(Path("s"))
    assert again == LearnOptions(
        board="native", learner="key_value", tuned=Path("s/tuned.json"), resume=True
    )
    assert parse(again.command(P)) == again


def test_a_learner_has_a_session_of_its_own() -> None:
    assert RunOptions(board="b").place("m", "b") == Path("spikelet-sessions/m-b")
    learn = LearnOptions(board="b", learner="key_value,books=4")
    assert learn.place("m", "b") == Path("spikelet-sessions/m-b-key_value")
    assert dataclasses.replace(learn, session=Path("s")).place("m", "b") == Path("s")


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (RunOptions, {"baud": 9600}, "--baud 9600 without --port"),
        (RunOptions, {"port": " "}, "--port is empty"),
        (RunOptions, {"port": "p", "machine": "qemu"}, "--machine qemu beside --port p"),
        (LearnOptions, {"learner": "nearest"}, "learner 'nearest' is not known"),
        (LearnOptions, {"learner": "nearest_mean", "stream": "sorted"}, "stream 'sorted' is not"),
        (LearnOptions, {"learner": "nearest_mean", "tune": ("metric",)}, "--tune metric: expected"),
        (LearnOptions, {"learner": "nearest_mean", "port": "p", "toolchain": "gcc"}, "--toolchain"),
    ],
)
def test_what_does_not_go_together_is_refused(
    kind: type[SessionOptions], given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        kind(board="native", **given)
