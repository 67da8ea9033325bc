"""The three passes of a 3x3 convolution that learns: instructions a useful multiply-accumulate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _gate import Gate

from spikelet.board import find_board
from spikelet.codegen.plan import plan
from spikelet.graph import Array, Graph, Learned, Operator, Tensor
from spikelet.learn import Twin
from spikelet.learn.bases.convolution import STORED, macs
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.to_scalar import ToScalar
from spikelet.learn.numbers import scalar
from spikelet.run.learner import device_learner, outputs_crc
from spikelet.run.workflow import SessionTarget

TITLE = "conv 3x3, 16 -> 32 channels, 16 x 16, padding 0 and 1: forward, weight and input gradient"
WHERE = "virt-rv32f, virt-rv32, mps2-an386 (QEMU)"
TUNED_ON = "nothing"
PASSES = ("forward", "weight gradient and update", "input gradient")
GATES = (
    Gate("float32 on RV32IMAFC, instructions a MAC: forward (PULP-TrainLib 2.45)", "<=", 2.2,
         lambda f: _worst(f, PASSES[0])),
    Gate("weight gradient (2.19)", "<=", 2.2, lambda f: _worst(f, PASSES[1])),
    Gate("input gradient (4.39)", "<=", 3.0, lambda f: _worst(f, PASSES[2])),
    Gate("scratch, bytes (113 to 313 KB)", "<=", 0,
         lambda f: max(row["scratch_bytes"] for row in f["rows"])),
)  # fmt: skip
IMAGE, OUTPUTS, KERNEL = (16, 16, 16), 32, (3, 3)
SCALE, LIMIT = 2.0**-7, 127  # of integers
SAMPLES = 1


def measure(seeds: Sequence[int]) -> dict[str, Any]:
    """Each pass in QEMU; the device must agree with the twin. Beside the bar: other cores."""
    rows = [cost("virt-rv32f", "f32", padding, seed) for seed in seeds for padding in (0, 1)]
    beside = [cost("mps2-an386", "f32", p, seeds[0]) for p in (0, 1)]
    beside += [cost("virt-rv32", "i16", p, seeds[0]) for p in (0, 1)]
    beside += [cost("mps2-an386", "i16", p, seeds[0]) for p in (0, 1)]
    results = {"rows": rows, "other_cores": beside}
    worst = " / ".join(f"{_worst(results, name):.2f}" for name in PASSES)
    scratch = max(row["scratch_bytes"] for row in rows)
    return {"figure": f"{worst} at the worst, scratch {scratch}", **results}


def _worst(results: Mapping[str, Any], name: str) -> float:
    return max(float(row["per_mac"][name]) for row in results["rows"])


def cost(board: str, precision: str, padding: int, seed: int) -> dict[str, Any]:
    """Instructions a useful multiply-accumulate of each pass on a board."""
    rng = np.random.default_rng(seed)
    ran, learned = {"": 0.0}, 0.0
    # What a prediction costs more with a pass than without; integers are brought to 16 bits first.
    for passes in (
        ["forward"],
        ["forward", "input gradient"],
        *([] if precision == "f32" else [[]]),
    ):
        graph = layer(precision, padding, seed, passes)
        inputs = {t.name: _random(t, rng) for t in graph.inputs}
        twin = Twin(graph)
        with device_learner(graph, board, toolchain="gcc", machine="qemu") as device:
            said = device.observe(inputs)
            assert np.array_equal(said, outputs_crc(graph, twin.observe(inputs)))
            device.agree(twin)
            assert device.ran is not None
            assert device.learned is not None
            tick = (
                SessionTarget(find_board(board), None, "qemu").speed("qemu").instructions_per_tick
                or 1.0
            )
            ran[passes[-1] if passes else ""] = tick * device.ran.ticks
            learned = tick * device.learned.ticks
    useful = macs(next(node for node in graph.nodes if isinstance(node, Conv2dUpdate)), IMAGE)
    return {
        "board": board,
        "precision": precision,
        "padding": padding,
        "macs": useful,
        "scratch_bytes": sum(block.size for block in plan(graph).scratch.values()),
        "per_mac": {
            "forward": (ran["forward"] - ran[""]) / useful,
            "weight gradient and update": learned / useful,
            "input gradient": (ran["input gradient"] - ran["forward"]) / useful,
        },
    }


def layer(precision: str, padding: int, seed: int, passes: Sequence[str]) -> Graph:
    """The layer as a graph, its error given by the host: the update and some passes."""
    rng = np.random.default_rng(seed)
    real = scalar.is_float(precision)
    out = tuple(n + 2 * padding - 2 for n in IMAGE[:2])
    window: dict[str, Any] = {
        "kernel": KERNEL, "padding": (padding,) * 4, "outputs": OUTPUTS, "precision": precision,
        "weight_scale": 1.0 if real else SCALE,
    }  # fmt: skip
    inputs, nodes = [], list[Operator]()
    for name, shape in (("x", IMAGE), ("error", (*out, OUTPUTS))):
        if real:
            inputs.append(Tensor(name, "f32", shape, "input"))
            continue
        # As values of 16 bits lie there; what it takes is in neither difference.
        inputs.append(Tensor(f"{name}_codes", "i8", shape, "input", SCALE))
        nodes.append(
            ToScalar(
                name=name, inputs=(f"{name}_codes",), precision=precision,
                output_scale=SCALE, output_limit=LIMIT,
            )
        )  # fmt: skip
    stored = STORED[precision]
    shape = (*KERNEL, IMAGE[2], OUTPUTS)
    weight = rng.normal(0, 0.1, shape) if real else rng.integers(-100, 100, shape)
    bias = np.zeros(OUTPUTS, np.float32 if real else np.int32)
    limits: dict[str, Any] = {} if real else {"low": -1000, "high": 1000, "scale": SCALE}
    biases: dict[str, Any] = {} if real else {"low": -9999, "high": 9999, "scale": SCALE**2}
    learned = [
        Learned.of("layer.weight", precision, shape, weight.astype(stored), **limits),
        Learned.of("layer.bias", scalar.sum_dtype(precision), (OUTPUTS,), bias, **biases),
    ]
    written: dict[str, Any] = {} if real else {"output_scale": 8 * SCALE, "output_limit": 4095}
    gradient = {f"gradient{k[6:]}": v for k, v in written.items()}
    update = Conv2dUpdate(name="update", inputs=(), rate=0.01, **window)
    value = scalar.value_dtype(precision)
    state = update.state(Tensor("x", value, IMAGE), Tensor("error", value, (*out, OUTPUTS)), 1.0)
    update.inputs = (
        "error", "x", "layer.weight", "layer.bias", *(k.tensor.name for k in state),
    )  # fmt: skip
    forward = Conv2dForward(
        name="y", inputs=("x", "layer.weight", "layer.bias"), relu=True, **window, **written
    )
    back = Conv2dInputGradient(
        name="dx", inputs=("error", "layer.weight", "x"), shape=IMAGE, mask=True, **window,
        **gradient,
    )  # fmt: skip
    made = {"forward": forward, "input gradient": back}
    nodes += [*(made[name] for name in passes), update]
    outputs = [made[name].name for name in passes] or ["x"]
    return Graph("conv_3x3", 1, inputs, nodes, outputs, [*learned, *state])


def _random(tensor: Tensor, rng: np.random.Generator) -> Array:
    shape = (SAMPLES, *tensor.shape)
    if tensor.dtype == "f32":
        return rng.normal(0, 1, shape).astype(np.float32)
    return rng.integers(-LIMIT, LIMIT, shape, endpoint=True).astype(tensor.numpy_dtype)
