"""Makes spk_messages.h, messages.py and replies.py of messages.toml:
`python -m spikelet.link.generate`."""

from __future__ import annotations

import sys
import tomllib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikelet.paths import firmware_dir

_HERE = Path(__file__).resolve().parent
SOURCE = _HERE / "messages.toml"
PYTHON_FILES = {"request": _HERE / "messages.py", "reply": _HERE / "replies.py"}
C_FILE = firmware_dir() / "link" / "spk_messages.h"

_NOTE = "Made from pytools/spikelet/link/messages.toml by `python -m spikelet.link.generate`."
_SIZES = {"u8": 1, "u16": 2, "u32": 4, "i32": 4, "f32": 4}
_STRUCT = {"u8": "B", "u16": "H", "u32": "I", "i32": "i", "f32": "f"}


@dataclass(frozen=True)
class _Field:
    name: str
    type: str

    @property
    def size(self) -> int | None:
        """Bytes on the wire, None where it varies."""
        if self.type.startswith("bytes"):
            return int(self.type[5:])
        return _SIZES.get(self.type)

    @property
    def code(self) -> str:
        """The struct module's format of a field of fixed size."""
        return _STRUCT.get(self.type) or f"{self.size}s"

    @property
    def python(self) -> str:
        if self.type == "f32":
            return "float"
        if self.type == "str":
            return "str"
        return "int" if self.type in _STRUCT else "bytes"


def _fields(texts: list[str]) -> list[_Field]:
    fields = []
    for text in texts:
        name, kind = text.split()
        known = kind in _SIZES or kind in ("str", "rest") or kind.startswith("bytes")
        if not known:
            raise ValueError(f"messages.toml: field {name!r} has the unknown type {kind!r}")
        fields.append(_Field(name, kind))
    varying = [field.size is None for field in fields]
    if varying != sorted(varying):
        raise ValueError(f"messages.toml: a fixed field follows one that varies: {texts}")
    return fields


def protocol_hash(spec: dict[str, Any]) -> int:
    """CRC-32 of everything that fixes the bytes on the wire; texts do not count."""
    lines = [f"protocol {spec['protocol']}"]
    for entry in spec["type"]:
        lines.append(f"type {entry['name']} {entry['id']} {entry['request']} {entry['reply']}")
    lines += [f"layout {entry['name']} {entry['fields']}" for entry in spec["layout"]]
    lines += [f"status {entry['name']} {entry['code']}" for entry in spec["status"]]
    lines += [f"constant {name} {value}" for name, value in spec["constants"].items()]
    return zlib.crc32("\n".join(lines).encode())


def _offsets(prefix: str, fields: list[_Field], start: int) -> list[str]:
    """C enumerators: where each field stands in the payload, and the bytes of the fixed part."""
    lines, at = [], start
    for field in fields:
        lines.append(f"    SPK_{prefix}_{field.name.upper()}_AT = {at},")
        if field.size is None:
            break
        at += field.size
    fixed = sum(field.size or 0 for field in fields) + start
    lines.append(f"    SPK_{prefix}_BYTES = {fixed},")
    return lines


def c_text(spec: dict[str, Any]) -> str:
    """The whole of spk_messages.h."""
    out = [
        f"// {_NOTE}",
        "// SPDX-License-Identifier: Apache-2.0",
        "#ifndef SPK_MESSAGES_H",
        "#define SPK_MESSAGES_H",
        "",
        "enum {",
        f"    SPK_PROTOCOL = {spec['protocol']},",
    ]
    out += [f"    SPK_{name} = {value}," for name, value in spec["constants"].items()]
    out += [
        "};",
        "",
        f"#define SPK_PROTOCOL_HASH 0x{protocol_hash(spec):08X}u",
        "",
        "enum spk_type {",
    ]
    out += [f"    SPK_TYPE_{entry['name']} = {entry['id']}," for entry in spec["type"]]
    out.append("    // reserved: answered BAD_TYPE")
    out += [f"    SPK_TYPE_{name} = {value}," for name, value in spec["reserved"].items()]
    reads = sum(1 << entry["id"] for entry in spec["type"] if entry.get("read"))
    out += ["};", "", "// Bit t: requests of type t change nothing and may be served again."]
    keyed = sum(1 << entry["id"] for entry in spec["type"] if entry.get("keyed"))
    out += ["enum {", f"    SPK_READ_TYPES = 0x{reads:X},", "};", ""]
    out += ["// Bit t: requests of type t are served by a device with a key; no others are."]
    out += ["enum {", f"    SPK_KEYED_TYPES = 0x{keyed:X},", "};", "", "enum spk_status {"]
    out += [f"    SPK_STATUS_{entry['name']} = {entry['code']}," for entry in spec["status"]]
    out += [
        "};",
        "",
        "// Offsets of the fields in a request's payload, and the fixed bytes of it.",
        "enum {",
    ]
    for entry in spec["type"]:
        out += _offsets(entry["name"], _fields(entry["request"]), 0)
    out += ["};", "", "// The same for replies; offset 0 is the status.", "enum {"]
    for entry in spec["type"]:
        out += _offsets(f"{entry['name']}_REPLY", _fields(entry["reply"]), 1)
    out += ["};", "", "// The same for the layouts that HELLO's reply carries.", "enum {"]
    for entry in spec["layout"]:
        out += _offsets(entry["name"], _fields(entry["fields"]), 0)
    out += ["};", "", "#endif", ""]
    return "\n".join(out)


def _class_text(name: str, doc: str, fields: list[_Field]) -> list[str]:
    """A NamedTuple with pack() and unpack() for one payload."""
    fixed = [field for field in fields if field.size is not None]
    rest = [field for field in fields if field.size is None]
    form = "<" + "".join(field.code for field in fixed)
    upper = f"_{name.upper()}"
    out = ["", "", f'{upper} = struct.Struct("{form}")', "", "", f"class {name}(NamedTuple):"]
    out += [f'    """{doc}"""', ""]
    out += [f"    {field.name}: {field.python}" for field in fields]
    out += ["", "    def pack(self) -> bytes:", '        """The bytes of the payload."""']
    packed = ", ".join(f"self.{field.name}" for field in fixed)
    parts = [f"{upper}.pack({packed})"] if fixed else []
    for field in rest:
        parts.append(f"_string(self.{field.name})" if field.type == "str" else f"self.{field.name}")
    out += [f"        return {' + '.join(parts)}", "", "    @classmethod"]
    out += [
        f"    def unpack(cls, data: bytes) -> {name}:",
        '        """Reads a payload; bytes beyond the known fields are skipped."""',
    ]
    if not rest:
        return [*out, f"        return cls._make({upper}.unpack_from(data))"]
    head = f"*{upper}.unpack_from(data)" if fixed else ""
    if rest[0].type == "rest":
        tail = f"data[{upper}.size :]" if fixed else "data"
        return [*out, f"        return cls._make(({head + ', ' if head else ''}{tail},))"]
    out.append(f"        at = {upper}.size")
    for field in rest:
        out.append(f"        {field.name}, at = _text(data, at)")
    names = ", ".join(field.name for field in rest)
    return [*out, f"        return cls._make(({head}, {names}))"]


_STRING = """

def _string(text: str) -> bytes:
    raw = text.encode()[:255]
    return bytes((len(raw),)) + raw


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    if end > len(data):
        raise IndexError(f"a text of {data[at]} bytes runs over the end")
    return printable(data[at + 1 : end]), end"""


def _head(title: str, imports: list[str]) -> list[str]:
    return [
        f'"""{title}. {_NOTE}"""'.replace("by `", "by\n`"),
        "",
        "# fmt: off",
        "# ruff: noqa: E501",
        "# SPDX-License-Identifier: Apache-2.0",
        "from __future__ import annotations",
        "",
        *imports,
    ]


def _codes(spec: dict[str, Any]) -> list[str]:
    """Numbers, and the texts of statuses."""
    out = [f"PROTOCOL = {spec['protocol']}", f"PROTOCOL_HASH = 0x{protocol_hash(spec):08X}"]
    out += [f"{name} = {value}" for name, value in spec["constants"].items()]
    out += ["", "", "class Type(IntEnum):", '    """Message types."""', ""]
    out += [f"    {entry['name']} = {entry['id']}" for entry in spec["type"]]
    out += [f"    {name} = {value}  # reserved" for name, value in spec["reserved"].items()]
    out += ["", "", "class Status(IntEnum):", '    """First byte of every reply."""', ""]
    out += [f"    {entry['name']} = {entry['code']}" for entry in spec["status"]]
    reads = ", ".join(f"Type.{e['name']}" for e in spec["type"] if e.get("read"))
    out += ["", "", f"READ_TYPES = frozenset({{{reads}}})"]
    keyed = ", ".join(f"Type.{e['name']}" for e in spec["type"] if e.get("keyed"))
    out += [f"KEYED_TYPES = frozenset({{{keyed}}})"]
    out += [
        "",
        "# Status: (likely cause, next step)",
        "STATUS_TEXTS: dict[Status, tuple[str, str]] = {",
    ]
    for entry in spec["status"]:
        out += [f"    Status.{entry['name']}: (", f'        "{entry["cause"]}",']
        out += [f'        "{entry["next"]}",', "    ),"]
    return [*out, "}"]


def python_text(spec: dict[str, Any], side: str) -> str:
    """The whole of messages.py (side "request": numbers and requests) or replies.py ("reply")."""
    if side == "request":
        lines = ["import struct", "from enum import IntEnum", "from typing import NamedTuple", ""]
        out = [*_head("Numbers and requests of the link", lines), *_codes(spec)]
    else:
        lines = ["import struct", "from typing import NamedTuple", ""]
        lines += ["from spikelet.link.text import printable"]
        out = [*_head("Replies of the link", lines), *_STRING.splitlines()]
    for entry in spec["type"]:
        camel = entry["name"].title().replace("_", "")
        fields = _fields(entry[side])
        if fields:
            doc = f"{entry['doc'].split('. ')[0].rstrip('.')}: the {side}."
            out += _class_text(camel + side.title(), doc, fields)
    for entry in spec["layout"] if side == "reply" else ():
        doc = f"{entry['name']} in HELLO's reply."
        out += _class_text(entry["name"].title(), doc, _fields(entry["fields"]))
    return "\n".join(out) + "\n"


def load() -> dict[str, Any]:
    """The parsed messages.toml."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def main() -> int:
    """Writes all files."""
    spec = load()
    C_FILE.write_text(c_text(spec), encoding="utf-8")
    for side, file in PYTHON_FILES.items():
        file.write_text(python_text(spec, side), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
