"""docs/schemas: written from the code; what commands print and sessions hold is valid by them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tflite_cases

from cli_support import Spikelet, small_package
from learning_package import clouds
from spikelet.cli.app import COMMANDS
from spikelet.cli.recipes import package_facts
from spikelet.cli.schemas import SCHEMAS, json_schema
from spikelet.link.device import Device
from support import need

HOUSE = Path(__file__).resolve().parents[2]
SCHEMA_FILES = HOUSE / "docs" / "schemas"
ROSTER = """
[devices.one]
board = "native"
machine = "pty"
[devices.gone]
board = "native"
port = "/dev/ttyNOPE"
"""
# Schema, the command's words, its exit code. Sessions are made in this order in one folder.
CALLS: list[tuple[str, str, int]] = [
    ("run", "run small.spk -b native --layers --session a", 0),
    ("run", "run small.spk -b native --limit 3 --session b", 0),
    ("bench", "bench small.spk -b virt-rv32 --limit 2 --session c", 0),
    ("run-roster", "run small.spk --roster bench.toml --session d", 3),
    ("learn", "learn clouds.spk -b native --learner nearest_mean --classes 4 --no-baselines "
     "--stream class-incremental,tasks=2 --session e", 0),
    ("compare", "compare a b --fail-if mismatches>0", 0),
    ("compare", "compare e e", 0),
    ("compare", "compare small.spk clouds.spk --fail-if flash>1", 1),
    ("report", "report a", 0),
    ("build", "build small.spk -b native", 0),
    ("demo", "demo --package small.spk -b native -o demo", 0),
    ("inspect", "inspect small.spk", 0),
    ("cycles", "cycles small.spk --core ibex", 0),
    ("fit", "fit small.spk --part RP2350-riscv", 0),
    ("flash", "flash small.spk -b microbit --dry-run", 0),
    ("export-c", "export small.spk --c library --target host", 0),
    ("boards", "boards", 0),
    ("models", "models", 0),
    ("learners", "learners", 0),
    ("doctor", "doctor", 0),
    ("error", "run gone.spk -b native", 2),
    ("error", "run small.spk -b native --port /dev/ttyNOPE", 3),
]  # fmt: skip


def check(name: str, data: object) -> None:
    """Against the file in docs/schemas."""
    schema = json.loads((SCHEMA_FILES / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(data)


@pytest.mark.quick
def test_the_files_are_what_the_code_says() -> None:
    spec = importlib.util.spec_from_file_location("schemas", HOUSE / "tools" / "schemas.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.stale() == [], "run `python tools/schemas.py`"
    for name in SCHEMAS:
        jsonschema.Draft202012Validator.check_schema(json_schema(name))


def test_every_command_has_a_schema() -> None:
    assert set(COMMANDS) <= {name.partition("-")[0] for name in SCHEMAS}


def test_what_commands_print(spikelet: Spikelet) -> None:
    need("zig")
    small_package().save(Path("small.spk"))
    clouds().save(Path("clouds.spk"))
    Path("bench.toml").write_text(ROSTER)
    for name, words, code in CALLS:
        result = spikelet(*words.split(), "--json")
        assert result.code == code, (words, result.err)
        check(name, result.json)
        if name in ("run", "bench", "learn", "run-roster", "compare"):
            declared = {f.alias or key for key, f in SCHEMAS[name].model_fields.items()}
            assert set(result.json) <= declared, words  # nothing is printed that is not declared
    for session in ("a", "b", "c", "d/one", "e"):
        head = json.loads(Path(session, "session.json").read_text())
        check("session", head)
        check("learn" if session == "e" else "run", head)
    check("bench", json.loads(Path("c/bench.json").read_text()))
    check("train", package_facts(small_package(), Path("small.spk")))


def test_a_session_under_way(spikelet: Spikelet, monkeypatch: pytest.MonkeyPatch) -> None:
    small_package().save(Path("small.spk"))
    run: Callable[..., Any] = Device.start_run
    count = 0

    def interrupted(self: Device, *args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count > 2:
            raise KeyboardInterrupt
        return run(self, *args, **options)

    monkeypatch.setattr(Device, "start_run", interrupted)
    assert spikelet("run", "small.spk", "-b", "native", "--session", "s", "--json").code == 130
    head = json.loads(Path("s/session.json").read_text())
    assert head["complete"] is False
    check("session", head)


def test_imported_and_exported(spikelet: Spikelet, tmp_path: Path) -> None:
    writer, x, rng = tflite_cases.start(0)
    net = writer.finish([x], tflite_cases.CASES["fully_connected"](writer, x, rng))
    (tmp_path / "net.tflite").write_bytes(net)
    check("import", spikelet("import", "net.tflite", "--json").json)
    check("export-onnx", spikelet("export", "net.spk", "-o", "net.onnx", "--json").json)
    less = ("--budget", "flash=95%", "--criterion", "information")
    check("allocate", spikelet("allocate", "net.spk", *less, "--json").json)
    shown = spikelet("allocate", "net.spk", *less)
    assert "random, mean of 5" in shown.out and Path("net_bits.spk").is_file()
