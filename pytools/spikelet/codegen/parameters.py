"""What the parameters of the kernels hold: a number that C would cut on its way is refused.

The headers' own declarations are read (`headers.py`), so there is no second list that could differ
from them. For the fields of a kernel's attributes `structs.py` does the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache

from spikelet.codegen.headers import every
from spikelet.graph import GraphError
from spikelet.paths import firmware_dir
from spikelet.plugins import plugins

_Types = frozenset[str]  # of a parameter; two where an #if chooses

_CALL = re.compile(r"\b(spk_\w+)\(")
_NUMBER = re.compile(r"-?\d+")
_RANGES = {"bool": (0, 1)}
for _bits in (8, 16, 32):
    _RANGES[f"int{_bits}_t"] = -(1 << (_bits - 1)), (1 << (_bits - 1)) - 1
    _RANGES[f"uint{_bits}_t"] = 0, (1 << _bits) - 1


@cache
def _functions() -> dict[str, list[list[_Types]]]:
    """By a function's name, of each declaration the types of the parameters.

    `*` stands for what a macro puts into a name.
    """
    folders = [firmware_dir() / room for room in ("include", "kernels", "learn")]
    folders += [plugin.firmware for plugin in plugins() if not plugin.fault]
    headers = every(folders)
    known: dict[str, set[str]] = defaultdict(set)
    for name, kind in headers.typedefs:
        known[name].add(kind)
    functions: dict[str, list[list[_Types]]] = defaultdict(list)
    for function in headers.functions:
        declared = [frozenset(known.get(kind, {kind})) for kind in function.types]
        functions[function.name].append(declared)
    return functions


@cache
def _declarations(name: str) -> list[list[_Types]]:
    functions = _functions()
    made = [types for key, types in functions.items() if "*" in key and fnmatchcase(name, key)]
    return functions.get(name) or [declaration for types in made for declaration in types]


def check_calls(owner: str, text: str) -> None:
    """GraphError where a number does not fit the parameter of the kernel that it is given to."""
    for call in _CALL.finditer(text):
        arguments = list(_arguments(text, call.end()))
        declared = [types for types in _declarations(call[1]) if len(types) == len(arguments)]
        for i, argument in enumerate(arguments):
            if not _NUMBER.fullmatch(argument) or argument == "0":  # 0 is a pointer, too
                continue
            if not declared:
                raise GraphError(f"{owner}: no header of the firmware declares {call[1]}")
            kinds = sorted(frozenset[str]().union(*(types[i] for types in declared)))
            ranges = [_RANGES[kind] for kind in kinds if kind in _RANGES]
            if not any(low <= int(argument) <= high for low, high in ranges):
                held = " or ".join(f"{low} to {high}" for low, high in ranges) or "no number"
                raise GraphError(
                    f"{owner}: argument {i + 1} of {call[1]} is {argument}, "
                    f"{' or '.join(kinds)} holds {held}"
                )


def _arguments(text: str, start: int) -> Iterator[str]:
    """The arguments of a call whose parenthesis was opened just before `start`."""
    depth, begin = 0, start
    for i in range(start, len(text)):
        if text[i] in "([{":
            depth += 1
        elif text[i] in ")]}" and depth:
            depth -= 1
        elif depth == 0 and text[i] in ",)":
            yield text[begin:i].strip()
            begin = i + 1
            if text[i] == ")":
                return
