"""The C that operators write. It is put together from numbers and checked identifiers only.

An operator's attributes may come from a file that somebody else made. So no text goes into C as it
is: a value is a number, an expression that was made here, or a group of those, and what names
something must be an identifier. What is neither raises TypeError or GraphError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np

from spikelet.graph.declared import GraphError

# What compilers are told of it: tensors of several types share one array; a multiply-add that is
# contracted rounds once where golden rounds twice. The macro says that they are told.
FLAGS = ("-fno-strict-aliasing", "-ffp-contract=off", "-DSPIKELET_FLAGS")

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ADDRESS = re.compile(r"&[A-Za-z_][A-Za-z0-9_]*")
_HEADER = re.compile(r"([a-z0-9_]+/)*[a-z0-9_]+\.h")
_TENSOR = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_TYPE = re.compile(r"(const )?(struct )?[A-Za-z_][A-Za-z0-9_]*( \*)?")
_NO_COMMENT = re.compile(r"[^ -~]|[\\?]")  # ends a line, joins it with the next, or is no ASCII


class _Text:
    """C text. Only the functions and methods of this module make it."""

    __slots__ = ("_text",)
    _text: str

    def __init__(self) -> None:
        raise TypeError("C is made by the functions of spikelet.graph.c, never from text")

    def __str__(self) -> str:
        return self._text


class Expression(_Text):
    """An expression."""

    __slots__ = ()

    def __add__(self, other: Value) -> Expression:
        return _expression(f"{self} + {_value(other)}")

    def __mul__(self, other: Value) -> Expression:
        return _expression(f"{_inner(str(self))} * {_value(other)}")

    def at(self, index: Value) -> Expression:
        """`self[index]`."""
        return _expression(f"{identifier(str(self))}[{_value(index)}]")

    def dereference(self) -> Expression:
        """`*self`, of a name or an address."""
        text = str(self)
        return _expression(f"*{text if _ADDRESS.fullmatch(text) else identifier(text)}")

    def compare(self, how: Literal["==", "!=", "<", ">"], other: Value) -> Expression:
        """A comparison."""
        if how not in ("==", "!=", "<", ">"):
            raise TypeError(f"{how!r} is no comparison")
        return _expression(f"{self} {how} {_value(other)}")


class Statement(_Text):
    """A statement, of one line or more."""

    __slots__ = ()


# What may stand for a number, an argument or the initial value of a field: a tuple is an array, a
# mapping a structure by its fields.
Value: TypeAlias = "bool | int | float | Expression | tuple[Value, ...] | Mapping[str, Value]"
Fields: TypeAlias = dict[str, Value]


def _expression(text: str) -> Expression:
    made = object.__new__(Expression)
    made._text = text
    return made


def _statement(*lines: str) -> Statement:
    made = object.__new__(Statement)
    made._text = "\n".join(lines)
    return made


def _inner(text: str) -> str:
    return f"({text})" if " + " in text else text


def _value(value: Value) -> str:
    if isinstance(value, Expression):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        if not -(1 << 31) <= value < 1 << 32:
            raise GraphError(f"{value} does not fit 32 bits, so the C cannot hold it")
        return str(int(value))
    if isinstance(value, float | np.floating):
        with np.errstate(over="ignore"):
            if not np.isfinite(np.float32(value)):
                raise GraphError(f"{value} is no finite float, so the C cannot hold it")
        return f"{float(value).hex()}f"
    if isinstance(value, tuple):
        return f"{{{', '.join(map(_value, value))}}}"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'.{field(k)} = {_value(v)}' for k, v in value.items())}}}"
    raise TypeError(f"{value!r} is no number and no C expression")


def _match(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise GraphError(f"{text!r} is not {what} of C")
    return text


def _join(values: tuple[Value, ...]) -> str:
    return ", ".join(map(_value, values))


def _indent(body: tuple[Statement, ...]) -> list[str]:
    return [f"    {line}" for statement in body for line in lines(statement)]


def field(text: str) -> str:
    """A field of a structure, or of one within it: refused unless it is identifiers and dots."""
    return _match(_FIELD, text, "a field")


def identifier(text: str) -> str:
    """Refused with GraphError unless it is an identifier."""
    return _match(_IDENTIFIER, text, "an identifier")


def header(text: str) -> str:
    """A file to include; refused unless it is a path of plain names."""
    return _match(_HEADER, text, "a header")


def string_literal(text: str) -> Expression:
    """A string literal: a name with letters, digits, underscores and dots."""
    return _expression(f'"{_match(_TENSOR, text, "a name")}"')


def remark(text: str) -> str:
    """What can stand in a `//` comment: printable ASCII without what C reads in comments, too."""
    return _NO_COMMENT.sub("_", text)


def literal(value: Value) -> Expression:
    """A number, or an initialiser in braces."""
    return _expression(_value(value))


def decimal(value: float) -> Expression:
    """A float by the shortest decimal number: `0.1f`."""
    _value(float(value))  # is it finite?
    return _expression(f"{float(value)!r}f")


def name(text: str) -> Expression:
    """A variable, function, macro or member of an enumeration."""
    return _expression(identifier(text))


def unsigned(value: int) -> Expression:
    """An unsigned number: `5u`."""
    if value < 0:
        raise GraphError(f"{value} is negative where C holds an unsigned number")
    return _expression(f"{_value(int(value))}u")


def address(text: str) -> Expression:
    """`&text`, of a variable or of a field of one."""
    return _expression(f"&{field(text)}")


def call(function: str, *arguments: Value) -> Expression:
    """`function(arguments)`."""
    return _expression(f"{identifier(function)}({_join(arguments)})")


def cast(c_type: str, value: Value) -> Expression:
    """`(c_type)value`."""
    return _expression(f"({_match(_TYPE, c_type, 'a type')}){_inner(_value(value))}")


def compound(c_type: str, parts: Value) -> Expression:
    """`&(c_type){parts}`: a pointer to a value that lives as long as the block around it."""
    return _expression(f"&({_match(_TYPE, c_type, 'a type')}){_value(parts)}")


def either(*conditions: Expression) -> Expression:
    """`a || b`."""
    return _expression(" || ".join(map(_value, conditions)))


def run(function: str, *arguments: Value) -> Statement:
    """`function(arguments);`."""
    return _statement(f"{call(function, *arguments)};")


def unused(*expressions: Expression) -> list[Statement]:
    """`(void)x;` of each: it need not be used elsewhere."""
    return [_statement(f"(void){_value(x)};") for x in expressions]


def assign(target: Expression, value: Value, how: Literal["=", "+="] = "=") -> Statement:
    """`target = value;`."""
    if how not in ("=", "+="):
        raise TypeError(f"{how!r} is no assignment")
    return _statement(f"{_value(target)} {how} {_value(value)};")


def declare(c_type: str, variable: str, value: Value) -> Statement:
    """`c_type variable = value;`."""
    checked = _match(_TYPE, c_type, "a type")
    return _statement(f"{checked} {identifier(variable)} = {_value(value)};")


def declare_array(c_type: str, variable: str, size: int) -> Statement:
    """`c_type variable[size];`."""
    checked = _match(_TYPE, c_type, "a type")
    space = "" if checked.endswith("*") else " "
    return _statement(f"{checked}{space}{identifier(variable)}[{_value(size)}];")


def when(condition: Expression, *body: Statement) -> Statement:
    """`if (condition) { body }`."""
    return _statement(f"if ({_value(condition)}) {{", *_indent(body), "}")


def repeat(counter: str, count: int, *body: Statement) -> Statement:
    """`body` for `counter` from 0 to `count` - 1."""
    i = identifier(counter)
    head = f"for (uint32_t {i} = 0; {i} < {_value(count)}; {i}++) {{"
    return _statement(head, *_indent(body), "}")


def block(*body: Statement) -> Statement:
    """`{ body }`."""
    return _statement("{", *_indent(body), "}")


def comment(text: str) -> Statement:
    """`// text`."""
    return _statement(f"// {remark(text)}")


def lines(statement: Statement) -> list[str]:
    """The lines of a statement; TypeError where it is anything else."""
    if not isinstance(statement, Statement):
        raise TypeError(f"{statement!r} is no C statement")
    return str(statement).split("\n")


RETURN = _statement("return;")
STEP = name("t")  # the step, where an operator is executed in each
SATURATIONS = address("saturations")
