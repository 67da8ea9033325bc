"""The float meaning of every operator against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
functional = torch.nn.functional

from float_networks import Builder, images  # noqa: E402
from spikelet.errors import UsageError  # noqa: E402
from spikelet.graph import Array  # noqa: E402
from spikelet.quantise import Network, Node, run  # noqa: E402
from spikelet.quantise.operator import network_operators  # noqa: E402

CASES = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)


def meaning(op: str, *inputs: Array | None, **attributes: Any) -> Array:
    return network_operators()[op].meaning(list(inputs), attributes)


def normal(seed: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def close(found: Array, wanted: Any, tolerance: float = 1e-5) -> None:
    assert found.shape == tuple(wanted.shape)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=tolerance, atol=tolerance)


@given(data=st.data(), rank=st.sampled_from([1, 2]), seed=seeds)
@CASES
def test_conv(data: st.DataObject, rank: int, seed: int) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    group = data.draw(st.sampled_from([1, 1, 2, 3]))
    depth, many = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    kernel, stride, dilation, begin, end = (
        each(1, 3),
        each(1, 3),
        each(1, 2),
        each(0, 2),
        each(0, 2),
    )
    size = [
        (k - 1) * d + 1 + extra for k, d, extra in zip(kernel, dilation, each(0, 6), strict=True)
    ]
    x = normal(seed, (data.draw(st.integers(1, 3)), depth * group, *size))
    weight = normal(seed + 1, (group * many, depth, *kernel))
    bias = normal(seed + 2, (group * many,)) if data.draw(st.booleans()) else None
    sides = [v for pair in zip(reversed(begin), reversed(end), strict=True) for v in pair]
    found = meaning(
        "Conv",
        x,
        weight,
        bias,
        strides=stride,
        dilations=dilation,
        pads=[*begin, *end],
        group=group,
    )
    conv = functional.conv1d if rank == 1 else functional.conv2d
    close(
        found,
        conv(
            functional.pad(torch.tensor(x), sides),
            torch.tensor(weight),
            None if bias is None else torch.tensor(bias),
            stride,
            0,
            dilation,
            group,
        ),
        1e-4,
    )


@given(
    data=st.data(),
    rank=st.sampled_from([1, 2]),
    ceil=st.booleans(),
    counted=st.booleans(),
    seed=seeds,
)
@CASES
def test_pools(data: st.DataObject, rank: int, ceil: bool, counted: bool, seed: int) -> None:
    def each(low: int, high: int) -> list[int]:
        return data.draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank))

    kernel, stride = each(1, 4), each(1, 4)
    pads = [data.draw(st.integers(0, k // 2)) for k in kernel]
    size = [max(k, 2) + extra for k, extra in zip(kernel, each(0, 6), strict=True)]
    x = normal(seed, (2, 3, *size))
    given_ = {"kernel_shape": kernel, "strides": stride, "pads": pads * 2, "ceil_mode": int(ceil)}
    average = functional.avg_pool1d if rank == 1 else functional.avg_pool2d
    most = functional.max_pool1d if rank == 1 else functional.max_pool2d
    close(
        meaning("AveragePool", x, **given_, count_include_pad=int(counted)),
        average(torch.tensor(x), kernel, stride, pads, ceil, counted),
    )
    dilations = each(1, 2)
    assume(all((k - 1) * d < s for k, d, s in zip(kernel, dilations, size, strict=True)))
    close(
        meaning("MaxPool", x, **given_, dilations=dilations),
        most(torch.tensor(x), kernel, stride, pads, dilations, ceil),
    )


TORCH: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Relu": (torch.relu, {}),
    "LeakyRelu": (lambda x: functional.leaky_relu(x, 0.2), {"alpha": 0.2}),
    "Sigmoid": (torch.sigmoid, {}),
    "Tanh": (torch.tanh, {}),
    "HardSigmoid": (functional.hardsigmoid, {"alpha": 1 / 6, "beta": 0.5}),
    "HardSwish": (functional.hardswish, {}),
    "Elu": (lambda x: functional.elu(x, 0.7), {"alpha": 0.7}),
    "Selu": (functional.selu, {}),
    "Celu": (lambda x: functional.celu(x, 1.7), {"alpha": 1.7}),
    "Gelu": (functional.gelu, {}),
    "Silu": (functional.silu, {}),
    "Mish": (functional.mish, {}),
    "Softplus": (functional.softplus, {}),
    "Softsign": (functional.softsign, {}),
    "Clip": (lambda x: torch.clamp(x, -0.5, 1.5), {"min": -0.5, "max": 1.5}),
    "Shrink": (lambda x: functional.softshrink(x, 0.5), {"lambd": 0.5, "bias": 0.5}),
    "ThresholdedRelu": (lambda x: functional.threshold(x, 0.3, 0.0), {"alpha": 0.3}),
    "Pow": (lambda x: x**3, {"exponent": 3.0}),
    **{
        name: (getattr(torch, name.lower()), {})
        for name in (
            "Abs", "Neg", "Erf", "Exp", "Sin", "Cos", "Tan", "Atan",
            "Sinh", "Cosh", "Asinh", "Floor", "Ceil", "Round", "Sign", "Log",
            "Sqrt", "Reciprocal", "Asin", "Acos", "Acosh", "Atanh",
        )
    },
}  # fmt: skip
DOMAINS = {
    "Log": (0.1, 5), "Sqrt": (0, 5), "Reciprocal": (0.2, 5), "Asin": (-1, 1), "Acos": (-1, 1),
    "Acosh": (1.1, 5), "Atanh": (-0.9, 0.9), "Tan": (-1.4, 1.4),
}  # fmt: skip


@pytest.mark.parametrize("op", TORCH)
def test_functions_of_one_value(op: str) -> None:
    x = np.linspace(*DOMAINS.get(op, (-5, 5)), 403, dtype=np.float32).reshape(1, 13, 31)
    function, attributes = TORCH[op]
    close(meaning(op, x, **attributes), function(torch.tensor(x)), 2e-6 if op != "Sinh" else 1e-4)


def test_gelu_by_tanh() -> None:
    x = np.linspace(-5, 5, 301, dtype=np.float32)
    wanted = functional.gelu(torch.tensor(x), approximate="tanh")
    close(meaning("Gelu", x, approximate="tanh"), wanted, 2e-6)


@given(seed=seeds, samples=st.integers(1, 3), channels=st.integers(1, 5), axis=st.integers(1, 3))
@CASES
def test_the_rest(seed: int, samples: int, channels: int, axis: int) -> None:
    x = normal(seed, (samples, channels, 4, 5))
    t = torch.tensor(x)
    close(meaning("Softmax", x, axis=axis), torch.softmax(t, axis))
    close(meaning("CumSum", x, axis=axis), t.cumsum(axis))
    behind = t.flip(axis).cumsum(axis).flip(axis)
    close(meaning("CumSum", x, axis=axis, reverse=1), behind)
    close(meaning("CumSum", x, axis=axis, exclusive=1), t.cumsum(axis) - t)
    close(meaning("CumSum", x, axis=axis, exclusive=1, reverse=1), behind - t)
    keep = bool(seed % 2)
    found = meaning("ArgMax", x, axis=axis, keepdims=keep)
    assert np.array_equal(found, torch.argmax(t, axis, keepdim=keep).numpy())
    close(meaning("ReduceMean", x, axes=[axis], keepdims=keep), t.mean(axis, keepdim=keep))
    close(meaning("GlobalAveragePool", x), t.mean((2, 3), keepdim=True))
    close(meaning("GlobalMaxPool", x), t.amax((2, 3), keepdim=True))
    slope = normal(seed + 1, (channels,))
    close(meaning("PRelu", x, slope[:, None, None]), functional.prelu(t, torch.tensor(slope)))
    weight, bias = normal(seed + 2, (6, 5)), normal(seed + 3, (6,))
    linear = functional.linear(t, torch.tensor(weight), torch.tensor(bias))
    close(meaning("Gemm", x, weight, bias), linear)
    mean, variance = normal(seed + 4, (channels,)), np.abs(normal(seed + 5, (channels,))) + 0.1
    scale = normal(seed + 6, (channels,))
    wanted = functional.batch_norm(
        t, torch.tensor(mean), torch.tensor(variance), torch.tensor(scale), torch.tensor(slope)
    )
    norm = meaning("BatchNormalization", x, scale, slope, mean, variance, epsilon=1e-5)
    close(norm, wanted, 1e-4)
    close(meaning("Transpose", x, perm=[0, 3, 1, 2]), t.permute(0, 3, 1, 2))
    pads = [0, 1, 0, 2, 0, 0, 1, 3]
    close(meaning("Pad", x, pads=pads, value=1.5), functional.pad(t, (2, 3, 0, 1, 1, 0), value=1.5))
    part = {"starts": [1, -1], "ends": [4, -(2**40)], "axes": [2, 3], "steps": [2, -2]}
    close(meaning("Slice", x, **part), t[:, :, 1:4:2].flip(3)[:, :, :, ::2])
    close(meaning("Concat", x, x[:, :1], axis=1), torch.cat([t, t[:, :1]], 1))
    resized = functional.interpolate(t, scale_factor=(2, 3), mode="nearest")
    twice = meaning(
        "Resize", x, rows=[i // 2 for i in range(8)], columns=[i // 3 for i in range(15)]
    )
    close(twice, resized)


def test_a_reshape_keeps_the_samples_apart() -> None:
    b = Builder((1, 2, 3, 4))
    network = b.finish(b.node("Reshape", b.node("Relu", "input"), shape=[1, 4, 6]))
    x = images(network, 7)
    found = run(network, x)
    assert found["reshape1"].shape == (7, 4, 6)
    assert np.array_equal(found["reshape1"], np.maximum(x["input"], 0).reshape(7, 4, 6))
    assert found["reshape1"].dtype == np.float32


def test_a_network_whose_batch_axis_is_not_1_runs_as_it_is_written() -> None:
    network = Network(
        "n", {"x": (3, 4, 5)}, ["y"], [Node("Reshape", "y", ("x",), {"shape": [4, 15]})]
    )
    x = normal(0, (3, 4, 5))
    assert np.array_equal(run(network, {"x": x})["y"], x.reshape(4, 15))


@pytest.mark.parametrize(
    ("node", "feeds", "words"),
    [
        (Node("Einsum", "y", ("x",), {}, "/sum"), {"x": (1, 3)}, ["/sum", "Einsum", "Conv"]),
        (
            Node("Conv", "y", ("x", "w"), {"group": 2}, "/c"),
            {"x": (1, 3)},
            ["/c", "group=2", "(1, 3)"],
        ),
        (Node("Relu", "y", ("x",)), {}, ["no data for input x"]),
        (Node("Relu", "y", ("x",)), {"x": (1, 4)}, ["(1, 4)", "(N, 3)"]),
    ],
)
def test_what_cannot_be_computed_is_named(
    node: Node, feeds: dict[str, tuple[int, ...]], words: list[str]
) -> None:
    constants = {"w": np.zeros((4, 3, 1, 1), np.float32)}
    network = Network("n", {"x": (1, 3)}, ["y"], [node], constants)
    with pytest.raises(UsageError) as error:
        run(network, {name: np.zeros(shape) for name, shape in feeds.items()})
    assert all(word in str(error.value) for word in words)
