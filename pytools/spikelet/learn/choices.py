"""Things chosen by one text, `NAME,option=value,...`: learners and streams.

The options are the fields of a dataclass; their types, defaults and checks are those of its fields
and of its `__post_init__`, which raises ValueError.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from spikelet.errors import UsageError

T = TypeVar("T")
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def parse_choice(text: str, known: Mapping[str, type[T]], what: str) -> T:
    """An object of the class and with the options that a text names.

    Args:
        text: for instance `class-incremental,tasks=5`.
        known: classes by name.
        what: in words, for errors: learner, stream.

    Raises:
        UsageError: an unknown name or option, or a value that its option does not take.
    """
    name, given = parts(text, what)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise UsageError(
            f"{what} {name!r} is not known",
            f"{near[0]} is meant" if near else "a misspelt name",
            f"choose one of {', '.join(sorted(known))}",
        )
    values: dict[str, Any] = {}
    allowed = options(known[name])
    for option, value in given.items():
        if option not in allowed:
            raise UsageError(
                f"{what} {name} has no option {option!r}",
                "a misspelt option",
                f"it has {_list_allowed(allowed)}" if allowed else "it has no options",
            )
        values[option] = _value(f"{what} {name}", allowed[option], value)
    try:
        return known[name](**values)
    except ValueError as e:
        raise UsageError(
            f"{what} {name}: {e}", "a value out of range", f"it has {_list_allowed(allowed)}"
        ) from e


def parts(text: str, what: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a text, not checked against anything.

    Raises:
        UsageError: a part is not option=value, or an option is given twice.
    """
    name, *rest = (part.strip() for part in text.split(","))
    given: dict[str, str] = {}
    for part in filter(None, rest):
        option, equals, value = (p.strip() for p in part.partition("="))
        if not equals:
            raise UsageError(
                f"{what} {name}: {part!r} is no option=value",
                "options are written option=value, with commas between them",
                f"for instance {name},{option}=1",
            )
        option = option.replace("-", "_")
        if option in given:
            raise UsageError(f"{what} {name}: option {option} is given twice")
        given[option] = value
    return name, given


@dataclasses.dataclass(frozen=True)
class Within:
    """The lowest and highest value of an option, written `Annotated[int, Within(1, 10)]`."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.10g}..{self.high:.10g}"


RATES = Within(1e-6, 100)  # learning rates
PARTS = Within(0, 1 - 2.0**-15)  # momentum, decay: 0 or more, less than 1


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a class.

    Attributes:
        name: as it is written.
        type: of its value.
        default: of its value.
        within: the ends of a number; None of what is none.
    """

    name: str
    type: Any
    default: Any
    within: Within | None = None

    @property
    def default_text(self) -> str:
        """The default as it is written."""
        return "none" if self.default is None else str(self.default)

    @property
    def values(self) -> str:
        """What it takes, in words."""
        kinds = _kinds(self.type)
        choices = [c for kind in kinds for c in _choices(kind)]
        words = [_kind(kind) for kind in kinds if not _choices(kind) and kind is not type(None)]
        if self.within:
            words = [f"{word} in {self.within}" for word in words]
        none = ["none"] if type(None) in kinds else []
        return " or ".join([*(["|".join(map(str, choices))] if choices else []), *words, *none])

    def __str__(self) -> str:
        choices = _choices(self.type)
        text = f"{self.name}={self.default_text}"
        return text + (f" ({'|'.join(map(str, choices))})" if choices else "")


def options(kind: type[Any]) -> dict[str, Option]:
    """The options of a dataclass by name, in order."""
    hints = typing.get_type_hints(kind)
    annotated = typing.get_type_hints(kind, include_extras=True)
    return {
        field.name: Option(
            field.name,
            hints[field.name],
            field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory(),
            next((m for m in _metadata(annotated[field.name]) if isinstance(m, Within)), None),
        )
        for field in dataclasses.fields(kind)
        if field.init
    }


def check_options(value: Any) -> None:
    """Raise ValueError where an option of an object is a number outside its ends."""
    for name, option in options(type(value)).items():
        given = getattr(value, name)
        if option.within is None or given is None:
            continue
        if not option.within.low <= given <= option.within.high:  # nor where it is no number
            raise ValueError(f"{name} = {given} is not in {option.within}")


def explain_options(kind: type[Any]) -> dict[str, str]:
    """What each option of a class means: the Attributes of its docstring and of its bases'."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines()
        if "Attributes:" not in lines:
            continue
        name = ""
        for line in lines[lines.index("Attributes:") + 1 :]:
            if line and not line.startswith(" "):
                break
            key, colon, text = line.strip().partition(":")
            if colon and line.startswith("    ") and not line.startswith("     "):
                name = key
                texts[name] = text.strip()
            elif name:
                texts[name] = f"{texts[name]} {line.strip()}".strip()
    return {name: texts.get(name, "").replace("`", "").rstrip(".") for name in options(kind)}


def describe_options(value: Any) -> dict[str, Any]:
    """All options of an object that `parse_choice` made, as JSON types."""
    return {
        name: option
        if isinstance(option := getattr(value, name), bool | int | float)
        else str(option)
        for name in options(type(value))
        if getattr(value, name) is not None
    }


def choice_text(name: str, values: Mapping[str, Any]) -> str:
    """The text that `parse_choice` reads."""
    return ",".join([name, *(f"{option}={value}" for option, value in values.items())])


def _list_allowed(allowed: Mapping[str, Option]) -> str:
    return ", ".join(map(str, allowed.values()))


def _metadata(kind: Any) -> tuple[Any, ...]:
    return getattr(kind, "__metadata__", ())


def _kinds(kind: Any) -> list[Any]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return list(typing.get_args(kind)) if union else [kind]


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is Literal else ()


def _value(where: str, option: Option, text: str) -> Any:
    kinds = _kinds(option.type)
    if type(None) in kinds and text.lower() in ("", "none"):
        return None
    for kind in kinds:
        parsed = _read(kind, text)
        if parsed is not None:
            return parsed
    names = [_kind(kind) for kind in kinds]
    raise UsageError(
        f"{where}: {option.name}={text} is not {' or '.join(n for n in names if n)}",
        next=f"the default is {option}",
    )


def _kind(kind: Any) -> str:
    if choices := _choices(kind):
        return f"one of {', '.join(map(str, choices))}"
    words = {int: "an integer", float: "a finite number", bool: "true or false", str: "a text"}
    return words.get(kind, "none")


def _read(kind: Any, text: str) -> Any:
    if choices := _choices(kind):
        return next((c for c in choices if str(c) == text), None)
    try:
        if kind is bool:
            return _WORDS.get(text.lower())
        if kind is int:
            return int(text)
        if kind is float:
            number = float(text)
            return number if abs(number) < float("inf") else None
    except ValueError:
        return None
    return text if kind is str and text else None
