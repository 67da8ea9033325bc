"""Trainable convolutions and pools: kernels against golden, golden against PyTorch's autograd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional

import convolution_graphs as graphs
import isolated
from convolution_graphs import SCALE, WEIGHT_LIMIT, Builder, Case
from learning import device_equals_twin
from spikelet.graph import Array, Graph, GraphError, Tensor
from spikelet.learn.layers.average_pool2d import AveragePool2dForward
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dUpdate
from spikelet.learn.numbers import scalar

# Compiling takes the time: each family on a core without FPU, the floats on two with one.
DEVICES = [
    ("native-gcc-sanitized", "i8", "stochastic"),
    ("rv32-gcc-qemu", "i16", "stochastic"),
    ("rv32f-gcc-qemu", "f32", "nearest"),
    ("m4-gcc-qemu", "f16", "nearest"),
    pytest.param("rv32-gcc-qemu", "f32", "nearest", marks=pytest.mark.long),
    pytest.param("m4-gcc-qemu", "i8", "nearest", marks=pytest.mark.long),
]
FEW = graphs.CASES[1:4] + graphs.CASES[7:9] + graphs.CASES[13:15]
FEWER = [graphs.CASES[2], graphs.CASES[13]]  # sanitised kernels take their time to compile


@pytest.mark.parametrize(("precision", "rounding"), graphs.PRECISIONS)
def test_every_kernel_alone_equals_golden(precision: str, rounding: str, tmp_path: Path) -> None:
    isolated.run(graphs.convolutions(precision, rounding), 4, tmp_path)


@pytest.mark.parametrize("precision", ["f32", "i16"])
def test_every_pool_alone_equals_golden(precision: str, tmp_path: Path) -> None:
    isolated.run(graphs.pools(precision), 4, tmp_path)


@pytest.mark.parametrize(("target", "precision", "rounding"), DEVICES)
def test_devices_equal_the_twin(target: str, precision: str, rounding: str, tmp_path: Path) -> None:
    cases = FEWER if target.endswith("sanitized") else FEW
    graph = graphs.convolutions(precision, rounding, cases)
    twin = device_equals_twin(target, graph, random_inputs(graph, 6), None, tmp_path)
    moved = [k for k in graph.learned if not np.array_equal(twin.learned[k.tensor.name], k.start())]
    weights = [k for k in moved if k.tensor.name.endswith(".weight")]
    assert len(weights) == len(cases)  # every layer has learned


def random_inputs(graph: Graph, samples: int) -> dict[str, Array]:
    rng = np.random.default_rng(5)
    return {
        t.name: np.stack([isolated.random_values(t, rng) for _ in range(samples)])
        for t in graph.inputs
    }


@st.composite
def cases(draw: st.DrawFn) -> Case:
    image = (draw(st.integers(1, 7)), draw(st.integers(1, 7)), draw(st.integers(1, 6)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    top, left, bottom, right = (draw(st.integers(0, 2)) for _ in range(4))
    assume(kernel[0] <= image[0] + top + bottom and kernel[1] <= image[1] + left + right)
    outputs = draw(st.integers(0, 6))
    frozen = draw(st.integers(0, outputs or image[2]))
    bias = draw(st.booleans()) or frozen == (outputs or image[2])
    return Case(
        image, kernel, stride, (top, left, bottom, right), outputs, frozen, bias,
        codes=draw(st.booleans()), relu=draw(st.booleans()), mask=draw(st.booleans()),
    )  # fmt: skip


RATE = 2.0**-5  # moves most weights by several units, few to their limit


def execute(graph: Graph) -> tuple[dict[str, Array], dict[str, Array]]:
    """What golden computes of one random sample, and what was learned before."""
    rng = np.random.default_rng(1)
    env: dict[str, Array] = graph.initial()
    env.update({t.name: isolated.random_values(t, rng)[None] for t in graph.inputs})
    for node in graph.order:
        node.golden(env, 0)
    return env, graph.initial()


def real(graph: Graph, name: str, values: Array) -> torch.Tensor:
    """A tensor's values as real numbers, float64."""
    tensor = {**graph.tensors, **{k.tensor.name: k.tensor for k in graph.learned}}[name]
    codes = values.astype(np.float64) - tensor.zero_point
    return torch.from_numpy(codes * (1.0 if values.dtype.kind == "f" else tensor.scale))


def channels_first(image: torch.Tensor) -> torch.Tensor:
    return image.permute(0, 3, 1, 2)


def reference(
    case: Case, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """PyTorch's convolution before its ReLU, (1, out H, out W, channels)."""
    top, left, bottom, right = case.padding
    padded = functional.pad(channels_first(x), (left, right, top, bottom))
    if case.outputs:
        kernel, group_count = weight.permute(3, 2, 0, 1).contiguous(), 1
    else:
        kernel, group_count = weight.permute(2, 0, 1)[:, None].contiguous(), case.channels
    y = functional.conv2d(padded, kernel, bias, case.stride, groups=group_count)
    return y.permute(0, 2, 3, 1)


def whole_weight(graph: Graph, case: Case, before: dict[str, Array]) -> torch.Tensor:
    """All weights as real numbers, those that learn first."""
    forward = next(node for node in graph.nodes if node.name == "c_y")
    held = getattr(forward, "frozen")  # noqa: B009
    parts = []
    if case.frozen < case.channels:
        parts.append(real(graph, "c.weight", before["c.weight"]))
    if held is not None:
        scale = 1.0 if held.dtype.kind == "f" else SCALE
        parts.append(torch.from_numpy(held.astype(np.float64) * scale))
    return torch.cat(parts, dim=-1)


@given(case=cases(), precision=st.sampled_from(scalar.PRECISIONS))
@settings(max_examples=60, deadline=None)
def test_golden_is_what_autograd_computes(case: Case, precision: str) -> None:
    """Floats within 1e-5 of the sums' sizes; integers within the rounding of what is written."""
    b = Builder(precision, seed=3)
    graphs.convolution(b, replace(case, options=(("rate", RATE),)), "c", "nearest")
    graph = b.graph("one")
    env, before = execute(graph)
    floats = scalar.is_float(precision)
    x = real(graph, "c_x", env["c_x"]).requires_grad_()
    weight = whole_weight(graph, case, before).requires_grad_()
    forward = next(node for node in graph.nodes if node.name == "c_y")
    stored = before["c.bias"] if case.bias else getattr(forward, "frozen_bias")  # noqa: B009
    factor = 1.0 if floats else SCALE * SCALE
    bias = torch.from_numpy(stored.astype(np.float64) * factor).requires_grad_()
    y = reference(case, x, weight, bias)
    error = real(graph, "c_e", env["c_e"])
    y.backward(error)
    size = 1.0 + reference(case, x.abs(), weight.abs(), bias.abs()).max().item()
    close = 1e-5 * size if floats else 0.5001 * SCALE
    shown = torch.relu(y) if case.relu else y
    held = shown if floats else shown.clamp(-1000 * SCALE, 1000 * SCALE)
    assert torch.allclose(real(graph, "c_y", env["c_y"]), held.detach(), rtol=0, atol=close)
    if "c_dx" in env:
        wanted = x.grad * (x > 0) if case.mask else x.grad
        held = wanted if floats else wanted.clamp(-1000 * SCALE, 1000 * SCALE)
        size = 1.0 + error.abs().max().item() * weight.abs().sum().item()
        close = 1e-5 * size if floats else 0.5001 * SCALE
        assert torch.allclose(real(graph, "c_dx", env["c_dx"]), held, rtol=0, atol=close)
    n = case.channels - case.frozen
    if n:
        moved = (weight - RATE * weight.grad).detach()[..., :n]
        # Half a unit of a stored weight, or of a half-precision one its rounding.
        close = {"f32": 1e-4, "f16": 0.02}.get(precision, 0.51 * SCALE)
        if not floats:
            moved = moved.clamp(-WEIGHT_LIMIT * SCALE, WEIGHT_LIMIT * SCALE)
        found = real(graph, "c.weight", env["c.weight"])
        assert torch.allclose(found, moved, rtol=1e-3 if floats else 0, atol=close)
    if case.bias:
        moved = (bias - RATE * bias.grad).detach()
        found = real(graph, "c.bias", env["c.bias"])
        if not floats:
            moved = moved.clamp(-100000 * factor, 100000 * factor)
        assert torch.allclose(found, moved, rtol=1e-5, atol=1e-4 if floats else 0.51 * factor)


@given(case=cases(), precision=st.sampled_from(["f32", "i16"]))
@settings(max_examples=40, deadline=None)
def test_pools_are_what_autograd_computes(case: Case, precision: str) -> None:
    top, left, bottom, right = case.padding
    assume(max(top, bottom) < case.kernel[0] and max(left, right) < case.kernel[1])
    b = Builder(precision, seed=4)
    graphs.pool(b, replace(case, outputs=0), "p")
    graph = b.graph("one")
    env, _ = execute(graph)
    error = channels_first(real(graph, "p_e", env["p_e"]))
    value = real(graph, "p_x", env["p_x"])
    room = (left, right, top, bottom)
    ones = functional.pad(torch.ones_like(channels_first(value)), room)
    inside = functional.avg_pool2d(ones, case.kernel, case.stride)
    for kind, to in (("p_average", "p_dx"), ("p_max", "p_max_dx")):
        x = value.clone().requires_grad_()
        if kind == "p_max":
            padded = functional.pad(channels_first(x), room, value=-np.inf)
            y = functional.max_pool2d(padded, case.kernel, case.stride)
        else:
            padded = functional.pad(channels_first(x), room)
            y = functional.avg_pool2d(padded, case.kernel, case.stride) / inside
        y.backward(error)
        assert x.grad is not None
        wanted = x.grad * (x > 0) if case.mask else x.grad
        # Parts of padded windows have 14 bits or more; sums of errors saturate one by one.
        close = 1e-5 if precision == "f32" else 0.51 * SCALE
        assert torch.allclose(
            channels_first(real(graph, kind, env[kind])), y.detach(), rtol=0, atol=close
        )
        if precision == "f32":
            assert torch.allclose(real(graph, to, env[to]), wanted, rtol=0, atol=1e-5)
        elif kind == "p_average":
            held = wanted.clamp(-1000 * SCALE, 1000 * SCALE)
            assert torch.allclose(real(graph, to, env[to]), held, rtol=0, atol=close)


def conv(**fields: object) -> Conv2dForward:
    return Conv2dForward(name="y", inputs=("x", "w", "b"), kernel=(3, 3), outputs=2, **fields)  # type: ignore[arg-type]


def check_inferred(node: Conv2dForward, precision: str = "f32", rows: int = 5) -> None:
    value = scalar.value_dtype(precision)
    b = Builder(precision)
    b.learn("w", graphs.weights(b.rng, precision, (3, 3, 4, 2)))
    b.learn("b", graphs.biases(b.rng, precision, 2))
    learned = [k.tensor for k in b.learned]
    x = Tensor("x", value, (rows, 5, 4), scale=1.0 if precision == "f32" else SCALE)
    integer = value == "i16"
    bounds = {"x": x.interval(-32767, 32767) if integer else x.interval()}
    for t in learned:
        bounds[t.name] = t.interval(-32767, 32767) if integer else t.interval()
    node.check()
    node = node.place([x, *learned], bounds, 1)


@pytest.mark.parametrize(
    ("fields", "precision", "rows", "says"),
    [
        ({"padding": (0, 0, 0, 0)}, "f32", 2, "larger than the padded x of shape"),
        ({"stride": (0, 1)}, "f32", 5, "stride[0] is 0"),
        ({"precision": "f8"}, "f32", 5, "precision is 'f8', expected one of"),
        ({"precision": "i16", "weight_scale": SCALE, "output_scale": SCALE, "output_limit": 9},
         "i16", 5, "a sum may reach 38652379171"),
        ({"precision": "i16", "output_limit": 9}, "i16", 5,
         "weight w has scale 0.0078125, not weight_scale 1.0"),
        ({"frozen": np.zeros((3, 3, 3, 1), np.float32)}, "f32", 5, "frozen is float32 of shape"),
        ({"frozen_bias": np.zeros(2, np.float32)}, "f32", 5, "reads 3 tensors, expected 2"),
    ],
)  # fmt: skip
def test_wrong_layers_are_refused_by_name(
    fields: dict[str, object], precision: str, rows: int, says: str
) -> None:
    with pytest.raises(GraphError, match=r"layer y \(conv2d_forward\)") as caught:
        check_inferred(conv(**fields), precision, rows)
    assert says in str(caught.value)


def test_pools_refuse_windows_of_padding_alone() -> None:
    node = AveragePool2dForward(name="y", inputs=("x",), kernel=(2, 2), padding=(2, 0, 0, 0))
    x = Tensor("x", "f32", (4, 4, 1))
    with pytest.raises(GraphError, match=r"padding .2, 0, 0, 0. is not less than the kernel"):
        node.place([x], {"x": x.interval()}, 1)


def test_an_update_of_nothing_is_refused() -> None:
    node = Conv2dUpdate(
        name="u", inputs=("e", "x"), kernel=(1, 1), outputs=2, frozen_outputs=2, bias=False, rate=1
    )
    x, e = Tensor("x", "f32", (4, 4, 1)), Tensor("e", "f32", (4, 4, 2))
    with pytest.raises(GraphError, match="nothing of it learns"):
        node.place([e, x], {"x": x.interval(), "e": e.interval()}, 1)
