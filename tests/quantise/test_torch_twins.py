"""Each network operator's twin in PyTorch computes what its meaning in numpy does: all of them.

A function of one value needs no line here: it is tried as it is, and with each number among its
attributes moved. Another operator without a line in `CASES` fails a test.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from spikelet.graph import Array  # noqa: E402
from spikelet.quantise.function import Function  # noqa: E402
from spikelet.quantise.operator import network_operators  # noqa: E402

Case = tuple[list[tuple[int, ...]], dict[str, Any]]  # shapes of the inputs, attributes

IMAGE, SIGNAL, ROW = (2, 6, 9, 8), (2, 6, 11), (3, 10)
PAIRS: list[Case] = [([IMAGE, IMAGE], {}), ([IMAGE, (6, 1, 1)], {}), ([ROW, (1,)], {})]
REDUCED: list[Case] = [
    ([IMAGE], {}),
    ([IMAGE], {"axes": [2, 3]}),
    ([IMAGE], {"axes": [-1], "keepdims": 0}),
    ([ROW], {"axes": [1]}),
]
POOLS: list[Case] = [
    ([IMAGE], {"kernel_shape": [2, 3], "strides": [2, 1]}),
    ([IMAGE], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ([IMAGE], {"kernel_shape": [3, 3], "strides": [2, 3], "ceil_mode": 1}),
    ([SIGNAL], {"kernel_shape": [4], "strides": [2], "pads": [1, 1]}),
]

CASES: dict[str, list[Case]] = {
    "Add": PAIRS,
    "ArgMax": [([IMAGE], {"axis": 1}), ([ROW], {"axis": -1, "keepdims": 0})],
    "AveragePool": [
        *POOLS,
        ([IMAGE], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 0], "count_include_pad": 1}),
    ],
    "BatchNormalization": [([IMAGE, *[(6,)] * 4], {}), ([ROW, *[(10,)] * 4], {"epsilon": 0.1})],
    "Concat": [([IMAGE, (2, 3, 9, 8), IMAGE], {"axis": 1}), ([ROW, ROW], {"axis": -1})],
    "Conv": [
        ([IMAGE, (4, 6, 3, 2), (4,)], {"strides": [2, 1], "pads": [1, 0, 2, 1]}),
        ([IMAGE, (4, 6, 2, 2)], {"dilations": [2, 3]}),
        ([IMAGE, (12, 1, 3, 3), (12,)], {"group": 6, "pads": [1, 1, 1, 1]}),
        ([SIGNAL, (4, 3, 5), (4,)], {"group": 2, "strides": [3], "pads": [2, 1]}),
    ],
    "ConvTranspose": [
        ([IMAGE, (4, 6, 3, 3), (4,)], {"strides": [2, 3], "pads": [1, 0, 1, 2]}),
        ([IMAGE, (4, 6, 2, 2)], {"strides": [2, 2], "output_padding": [1, 0]}),
        ([SIGNAL, (4, 6, 4), (4,)], {"strides": [2], "pads": [1, 1]}),
    ],
    "CumSum": [
        ([IMAGE], {"axis": 2}),
        ([ROW], {"axis": -1, "exclusive": 1}),
        ([SIGNAL], {"axis": 1, "reverse": 1}),
        ([IMAGE], {"axis": 3, "exclusive": 1, "reverse": 1}),
    ],
    "Div": PAIRS,
    "Gather": [([IMAGE], {"axis": 1, "indices": [5, 0, 0, 2]})],
    "Gemm": [([ROW, (4, 10), (4,)], {}), ([(2, 5, 10), (4, 10)], {})],
    "GlobalAveragePool": [([IMAGE], {}), ([SIGNAL], {})],
    "GlobalMaxPool": [([IMAGE], {}), ([SIGNAL], {})],
    "Max": [*PAIRS, ([IMAGE, IMAGE, (6, 1, 1)], {})],
    "MaxPool": [*POOLS, ([IMAGE], {"kernel_shape": [2, 2], "dilations": [3, 2]})],
    "Min": [*PAIRS, ([IMAGE, IMAGE, (6, 1, 1)], {})],
    "Mul": PAIRS,
    "PRelu": PAIRS,
    "Pad": [
        ([IMAGE], {"pads": [0, 1, 2, 0, 0, 0, 1, 3], "value": -0.5}),
        ([SIGNAL], {"pads": [0, 0, 2, 0, 0, 1]}),
    ],
    "Pow": [*PAIRS, ([IMAGE], {"exponent": 2.0}), ([ROW], {"exponent": 3})],
    "ReduceMax": REDUCED,
    "ReduceMean": REDUCED,
    "ReduceMin": REDUCED,
    "Reshape": [([IMAGE], {"shape": [2, -1]}), ([ROW], {"shape": [3, 5, 2]})],
    "Resize": [
        ([IMAGE], {"rows": [0, 0, 4, 8], "columns": [7, 3, 3]}),
        ([SIGNAL], {"rows": [1, 1, 10]}),
    ],
    "Slice": [
        ([IMAGE], {"starts": [1, 7], "ends": [4, 0], "axes": [1, 3], "steps": [1, -2]}),
        ([ROW], {"starts": [-1], "ends": [-(1 << 31)], "axes": [1], "steps": [-1]}),
    ],
    "Softmax": [([IMAGE], {"axis": 1}), ([ROW], {})],
    "Sub": PAIRS,
    "Transpose": [([IMAGE], {"perm": [0, 2, 3, 1]}), ([SIGNAL], {"perm": [0, 2, 1]})],
}
# Attributes of functions beside the numbers that have a default.
WORDS: dict[str, list[dict[str, Any]]] = {
    "Clip": [{"min": -0.5, "max": 1.0}, {"min": 0.25}, {"max": 0.25}],
    "Gelu": [{"approximate": "tanh"}],
}


def of_function(op: str, function: Function) -> Iterator[Case]:
    """A function as it is, and with other attributes."""
    given = inspect.signature(function.value).parameters.values()
    defaults = {p.name: p.default for p in given if isinstance(p.default, float)}
    moved = [{name: value * 1.5 + 0.125} for name, value in defaults.items()]
    for attributes in ({}, *moved, *WORDS.get(op, [])):
        yield [IMAGE], attributes


TRAINABLE = {name: one for name, one in network_operators().items() if one.trainable}
TRIED = [
    (op, shapes, attributes)
    for op, one in sorted(TRAINABLE.items())
    for shapes, attributes in CASES.get(
        op, list(of_function(op, one)) if isinstance(one, Function) else []
    )
]


def test_every_operator_is_tried() -> None:
    assert {op for op, _, _ in TRIED} == set(TRAINABLE)
    assert set(CASES) | set(WORDS) <= set(TRAINABLE)


@pytest.mark.parametrize(
    ("op", "shapes", "attributes"), TRIED, ids=[f"{op}-{i}" for i, (op, _, _) in enumerate(TRIED)]
)
def test_the_twin_computes_the_meaning(
    op: str, shapes: list[tuple[int, ...]], attributes: dict[str, Any]
) -> None:
    operator = TRAINABLE[op]
    rng = np.random.default_rng(len(shapes))
    inputs: list[Array] = [rng.normal(0, 2, shape).astype(np.float32) for shape in shapes]
    if op in ("BatchNormalization", "Div"):  # a variance, a divisor
        inputs[-1] = np.abs(inputs[-1]) + np.float32(0.5)
    with np.errstate(all="ignore"):
        wanted = operator.meaning(list(inputs), attributes)
    twins = [torch.tensor(x, requires_grad=i == 0) for i, x in enumerate(inputs)]
    found = operator.in_torch(twins, attributes)
    assert tuple(found.shape) == wanted.shape
    assert np.isfinite(wanted).mean() > 0.1
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=2e-5, atol=2e-5)
    assert found.requires_grad != operator.writes_index, "no gradient flows"
