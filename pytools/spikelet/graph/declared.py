"""What a field may hold: its annotation says it, and `check_fields` holds values to it.

This is the one place between a file that somebody else made and the fields of operators, tensors,
graphs and manifests. Types are those of JSON and strict (a bool is no number, a text is none
either, an integer will do for a float), ranges and texts are part of the annotation, and what is
not declared is refused.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, core_schema

SCALE_LEAST, SCALE_MOST = 1e-30, 1e30  # so that no product or ratio of two leaves a double
LONGEST = 65535  # of the lists of a package: dimensions, layers, names
NAME_LENGTH = 32  # a tensor's name, `layer.part`, fits the link's 48
_PYDANTIC = re.compile("Input should be|Tuple should have")  # how its own errors begin
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class GraphError(Exception):
    """A graph that is not well formed, or that cannot be proved safe; names the layer."""


@dataclass(frozen=True)
class Held:
    """An array constant.

    Attributes:
        dtype: of numpy; "" for any of integers and floats.
        rank: dimensions, 0 for any number of them.
        low: lowest element.
        high: highest element.
        empty: it may hold none.
    """

    dtype: str = ""
    rank: int = 0
    low: float = -np.inf
    high: float = np.inf
    empty: bool = False

    def check(self, value: Any) -> npt.NDArray[Any]:
        """ValueError where a value is no such array."""
        if not isinstance(value, np.ndarray):
            raise ValueError(f"expected an array of {self.dtype or 'numbers'}")
        if value.dtype.kind not in "iuf" or (self.dtype and value.dtype != self.dtype):
            raise ValueError(f"expected {self.dtype or 'integers or floats'}")
        if self.rank and value.ndim != self.rank:
            raise ValueError(f"expected {self.rank} dimensions")
        if not 1 <= value.ndim <= 4 or not (value.size or self.empty):
            raise ValueError("expected 1 to 4 dimensions, none of them empty")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError("expected finite numbers")
        if value.size and (value.min() < self.low or value.max() > self.high):
            raise ValueError(f"expected elements of {self.low} to {self.high}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """How pydantic asks `check`."""
        return core_schema.no_info_plain_validator_function(self.check)


def within(low: float, high: float) -> Any:
    """For `Annotated`: a number from `low` to `high`."""
    return Field(ge=low, le=high)


def one_of(*texts: str) -> AfterValidator:
    """For `Annotated`: one of these texts."""

    def check(value: str) -> str:
        if value not in texts:
            raise ValueError(f"expected one of {', '.join(texts)}")
        return value

    return AfterValidator(check)


def is_identifier(text: str) -> bool:
    """Whether C can carry it as a name: letters, digits, single underscores, no digit first."""
    fits = len(text) <= NAME_LENGTH and "__" not in text
    return fits and _IDENTIFIER.fullmatch(text) is not None


def _identifier(text: str) -> str:
    if not is_identifier(text):
        raise ValueError(f"expected a C identifier of at most {NAME_LENGTH} characters without __")
    return text


def _tensor_name(text: str) -> str:
    parts = text.split(".")
    apart = not any(part.endswith("_") for part in parts[:-1]) and not any(
        part.startswith("_") for part in parts[1:]
    )
    if len(parts) > 2 or not apart or not all(map(is_identifier, parts)):
        raise ValueError(
            f"expected `name` or `name.part`, each a C identifier of at most {NAME_LENGTH} "
            "characters without __"
        )
    return text


def _words(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected a text without control characters")
    return text


Identifier = Annotated[str, AfterValidator(_identifier)]
TensorName = Annotated[str, AfterValidator(_tensor_name)]
Words = Annotated[str, Field(max_length=4000), AfterValidator(_words)]  # for people, never in C
Int32 = Annotated[int, within(-(1 << 31), (1 << 31) - 1)]
UInt32 = Annotated[int, within(0, (1 << 32) - 1)]
Natural = Annotated[int, within(0, (1 << 31) - 1)]
Size = Annotated[int, within(1, 65535)]
Margin = Annotated[int, within(0, 65535)]
Axis = Annotated[int, within(0, 3)]
Code = Annotated[int, within(-128, 127)]
AnyCode = Annotated[int, within(-128, 255)]  # of i8 or u8
Q15 = Annotated[int, within(0, 1 << 15)]
TensorScale = Annotated[float, within(SCALE_LEAST, SCALE_MOST)]
Real = Annotated[float, within(-SCALE_MOST, SCALE_MOST)]
Pair = tuple[Size, Size]
Margins = tuple[Margin, Margin, Margin, Margin]
Codes = tuple[Code, Code]


@cache
def _adapters(cls: type[Any]) -> dict[str, tuple[TypeAdapter[Any], bool]]:
    """By field, what checks it and whether it must be given."""
    hints = typing.get_type_hints(cls, include_extras=True)
    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return {
        f.name: (
            TypeAdapter(hints[f.name], config=config),
            f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
        )
        for f in dataclasses.fields(cls)
        if f.init
    }


def check_fields(cls: type[Any], owner: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a dataclass as it declares them, lists as tuples.

    Args:
        cls: whose annotations count.
        owner: for errors: what has these fields.
        values: by field, as JSON, an .npz file or Python code gave them.

    Raises:
        GraphError: names the field, what it is and what was expected.
    """
    declared: dict[str, tuple[TypeAdapter[Any], bool]] = _adapters(cls)  # type: ignore[arg-type]
    for name in values:
        if name not in declared:
            raise GraphError(
                f"{owner}: {name!r:.60} is no field of it; declared are {', '.join(declared)}"
            )
    missing = [name for name, (_, needed) in declared.items() if needed and name not in values]
    if missing:
        raise GraphError(f"{owner}: {', '.join(missing)} is missing")
    for name, value in values.items():  # what is refused costs an error for each entry
        if isinstance(value, list | tuple) and len(value) > LONGEST:
            length = f"{len(value)} entries, expected {LONGEST} at most"
            raise GraphError(f"{owner}: {name} has {length}")
    return {name: _check_field(declared[name][0], owner, name, v) for name, v in values.items()}


def _check_field(adapter: TypeAdapter[Any], owner: str, name: str, value: Any) -> Any:
    try:
        return adapter.validate_python(_plain(value))
    except ValidationError as e:
        # Of a union the last one says what it is when it is there.
        first = e.errors(include_url=False, include_context=False)[0]
        text = first["msg"].removeprefix("Value error, ").replace(" after validation", "")
        text = _PYDANTIC.sub("expected", text)
        at = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        raise GraphError(f"{owner}: {name}{at} is {_describe(first['input'])}, {text}") from None


def quote_name(name: object) -> str:
    """A name as errors show it: as it is where it is one, else quoted and short."""
    return name if isinstance(name, str) and is_identifier(name) else f"{name!a:.60}"


def _plain(value: Any) -> Any:
    """A value with tuples for lists and Python's numbers for numpy's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"{value!a:.60}"
