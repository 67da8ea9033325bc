"""What reaches C is numbers and checked identifiers; text does not get in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikelet.codegen import generate
from spikelet.graph import GraphError, c
from spikelet.learn import identity

HOSTILE = [
    "0) { } int main(void",
    "a;b",
    "a b",
    "",
    "1a",
    "a\nb",
    "a\\",
    "a??/",
    'a"',
    "a//",
    "ünit",
    "a​",
    "a'",
    "%s",
    "#define",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(
    "use",
    [
        c.name,
        c.address,
        c.identifier,
        c.field,
        c.header,
        c.string_literal,
        lambda text: c.call(text, 1),
        lambda text: c.run(text, 1),
        lambda text: c.cast(f"{text} *", 1),
        lambda text: c.compound(f"struct {text}", (1,)),
        lambda text: c.declare("int", text, 1),
        lambda text: c.declare(f"{text} *", "x", 1),
        lambda text: c.declare_array("int", text, 1),
        lambda text: c.repeat(text, 3),
        lambda text: c.literal({text: 1}),
    ],
)
def test_a_name_is_an_identifier(use: Any, text: str) -> None:
    with pytest.raises(GraphError, match="of C"):
        use(text)


@pytest.mark.parametrize("value", ["1", "x", b"1", None, ["1"], [1], {"a": "1"}, ("1",), object()])
def test_a_value_is_no_text(value: Any) -> None:
    with pytest.raises(TypeError):
        c.run("f", value)


@pytest.mark.parametrize("value", [1 << 32, -(1 << 31) - 1, 1e300, float("nan"), float("inf")])
def test_a_number_fits_its_type(value: float) -> None:
    with pytest.raises(GraphError, match="cannot hold"):
        c.literal(value)


def test_numbers() -> None:
    given: Any = (True, -3, 0.5, np.int16(7), np.float32(0.25), {"a": (1, 2)}, c.name("x"))
    expected = "{true, -3, 0x1.0000000000000p-1f, 7, 0x1.0000000000000p-2f, {.a = {1, 2}}, x}"
    assert str(c.literal(given)) == expected


def test_sums_keep_their_meaning() -> None:
    total = c.name("a") + 1
    assert str(total * 3) == "(a + 1) * 3"
    assert str(c.cast("int8_t *", total)) == "(int8_t *)(a + 1)"


def test_text_is_no_expression_and_no_statement() -> None:
    for kind in (c.Expression, c.Statement):
        with pytest.raises(TypeError, match="never from text"):
            kind()
    text: Any = "f();"
    for use in (c.block, lambda s: c.when(c.name("x"), s)):
        with pytest.raises(TypeError, match="no C statement"):
            use(text)


def test_a_comment_ends_where_it_should() -> None:
    assert str(c.comment("a\nb \\ ??/ ü")) == "// a_b _ __/ _"


def test_an_operator_that_emits_text_is_refused(tmp_path: Any) -> None:
    graph = identity((4,))
    text: Any = lambda em: ["t_features[0] = 1;"]  # noqa: E731
    graph.nodes[0].emit = text  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="no C statement"):
        generate(graph, "0" * 64, tmp_path)
