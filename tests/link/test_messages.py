from __future__ import annotations

import re

import pytest

from spikelet import __version__
from spikelet.link import Dtype, Kind, generate, messages
from spikelet.link.errors import DeviceRefused
from spikelet.link.messages import STATUS_TEXTS, Status, Type
from spikelet.link.replies import Facts
from spikelet.paths import firmware_dir


def test_generated_files_are_what_the_generator_makes() -> None:
    spec = generate.load()
    assert generate.C_FILE.read_text() == generate.c_text(spec)
    for side, file in generate.PYTHON_FILES.items():
        assert file.read_text() == generate.python_text(spec, side)


def test_a_change_of_layout_changes_the_hash() -> None:
    spec = generate.load()
    before = generate.protocol_hash(spec)
    assert before == messages.PROTOCOL_HASH
    spec["type"][4]["reply"][2] = "ticks u16"
    assert generate.protocol_hash(spec) != before
    assert generate.c_text(spec) != generate.c_text(generate.load())


def test_every_status_has_cause_and_next_step() -> None:
    assert set(STATUS_TEXTS) == set(Status)
    for status in Status:
        if status != Status.OK:
            cause, next_step = STATUS_TEXTS[status]
            assert len(cause) > 20
            assert len(next_step) >= 15
            error = DeviceRefused("port: RUN", status, 7)
            assert str(error).splitlines() == [
                f"port: RUN: the device answered {status.name}, detail 7",
                f"  likely cause: {cause}",
                f"  next: {next_step}",
            ]


def test_an_unknown_status_is_named_by_its_number() -> None:
    assert "answered status 77" in str(DeviceRefused("x", 77, 0))


def test_reserved_names_are_kept() -> None:
    names = ["LEARN", "LEARN_STATE", "EVENTS", "STREAM", "PARAM", "BAUD"]
    assert [Type[name].value for name in names] == [10, 11, 12, 13, 14, 15]


def test_unknown_fields_are_skipped() -> None:
    facts = Facts(*range(1, 14), b"12345678", *range(7), bytes(32), 8, 1, "rv32imac", "digits")
    assert Facts.unpack(facts.pack() + b"fields of a newer device") == facts


@pytest.mark.parametrize(("python", "prefix"), [(Kind, "kind"), (Dtype, "dtype")])
def test_codes_are_those_of_the_header(python: type[Kind] | type[Dtype], prefix: str) -> None:
    header = (firmware_dir() / "include" / "spk_model.h").read_text()
    body = re.search(rf"enum spk_{prefix} {{(.*?)}};", header, re.S)
    assert body is not None
    codes = [int(code) for code in re.findall(r"= (\d+)", body[1])]
    assert codes == [member.value for member in python]
    names = re.findall(r"SPK_(\w+) =", body[1])
    assert names == [member.name for member in python]


def test_firmware_has_the_version_of_the_host() -> None:
    header = (firmware_dir() / "app" / "spk_agent.h").read_text()
    found = re.search(r"SPK_FIRMWARE_VERSION 0x(\w\w)(\w\w)(\w\w)u", header)
    assert found is not None
    assert ".".join(str(int(part, 16)) for part in found.groups()) == __version__
