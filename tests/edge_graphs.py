"""Every operator at the ends of what its `infer` admits: sizes, scales, zero points, shifts."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adapter_graphs import add_delta
from int8_graphs import GRIDS
from spikelet.graph import Array, Graph, GraphError, Operator, Tensor
from spikelet.graph.operator import operators

LAST = (1 << 31) - 1
SCALES = (1e-30, 1e-9, 1e-3, 1.0, 1e9, 1e30)
ZEROS = (-128, 127, 3)
# Operators of an image: of neurons few, whose kernels all become one function, where clang takes
# more than twice as long for one of twice the size.
MOST_NODES, MOST_NEURONS = 200, 30
OWN_BYTES = 64  # an operator's input that is as small may be overwritten: no other reads it
KINDS = functools.cache(operators)  # which looks through all modules


@dataclass
class Edges:
    """Operators, each on inputs of its own; those that `infer` refuses are left out."""

    inputs: list[Tensor] = field(default_factory=list)
    nodes: list[Operator] = field(default_factory=list)
    steps: int = 1

    def add(self, kind: str, ins: list[Tensor], **fields: Any) -> bool:
        number = len(self.nodes)
        own = [replace(t, name=f"x{number}_{i}") for i, t in enumerate(ins)]
        node = KINDS()[kind](name=f"n{number}", inputs=tuple(t.name for t in own), **fields)
        try:
            made = Graph("one", self.steps, own, [node], [self._output(node, own)])
        except GraphError:
            return False
        self.inputs += made.inputs
        self.nodes.append(node)
        return True

    def graphs(self, name: str) -> list[Graph]:
        """All of them, as few graphs as hold so many."""
        found = []
        most = MOST_NEURONS if name == "spiking" else MOST_NODES
        for i in range(0, len(self.nodes), most):
            inputs, nodes = self._shared(self.nodes[i : i + most])
            output = self._output(nodes[-1], [t for t in inputs if t.name in nodes[-1].inputs])
            found.append(Graph(f"{name}{i}", self.steps, inputs, nodes, [output]))
        return found

    def _shared(self, nodes: list[Operator]) -> tuple[list[Tensor], list[Operator]]:
        """Inputs of nodes, and these: of large inputs that are alike there is one for all.

        Each byte of an input goes through an emulated UART, which takes tens of microseconds.
        """
        made = {tensor.name: tensor for tensor in self.inputs}
        shared: dict[tuple[int, Tensor], Tensor] = {}
        found: dict[str, Tensor] = {}
        readers = []
        for node in nodes:
            ins = []
            for place, tensor in enumerate(made[name] for name in node.inputs):
                if tensor.nbytes > OWN_BYTES:
                    tensor = shared.setdefault((place, replace(tensor, name="x")), tensor)
                found[tensor.name] = tensor
                ins.append(tensor.name)
            readers.append(replace(node, inputs=tuple(ins)))
        return list(found.values()), readers

    def _output(self, node: Operator, ins: list[Tensor]) -> str:
        bounds = {t.name: t.interval() for t in ins}
        return node.place(ins, bounds, self.steps).outs[0].name


def code(shape: tuple[int, ...], scale: float = 0.1, zero: int = 3) -> Tensor:
    return Tensor("x", "i8", shape, kind="input", scale=scale, zero_point=zero)


def factors(sums: Array) -> Iterator[dict[str, Any]]:
    """Multipliers and shifts at their ends, a bias that leaves just room for the sums (O,)."""
    channels = len(sums)
    room = LAST - sums
    for number, shift in enumerate((-31, -30, -21, -20, -2, -1, 0, 1, 8, 30)):
        multiplier = np.resize(np.array([LAST, 1 << 30, 1500000000, 1, 0]), channels)
        for sign in (1, -1):
            yield {
                "bias": (sign * room).astype(np.int32) if number % 2 else np.zeros(channels, "<i4"),
                "multiplier": multiplier.astype(np.int32),
                "shift": np.full(channels, shift, np.int32),
                "output_scale": 0.5,
                "output_zero_point": ZEROS[number % 3] if sign > 0 else 127,
                "activation": ((-128, 127), (0, 0), (-128, -128))[number % 3] if sign < 0
                else (-128, 127),
            }  # fmt: skip


def weighted_layers(made: Edges) -> None:
    """Layers with weights: the smallest and odd shapes, weights at the ends of their type."""
    shapes: dict[str, list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]]] = {
        "fully_connected": [((1,), (1, 1), {}), ((33,), (5, 33), {})],
        "conv2d": [((1, 1, 1), (1, 1, 1, 1), {}), ((3, 4, 3), (5, 2, 2, 3), {})],
        "depthwise_conv2d": [((1, 1, 1), (1, 1, 1), {}), ((4, 3, 5), (3, 3, 5), {})],
        "transpose_conv": [
            ((1, 1, 1), (1, 1, 1, 1), {"size": (1, 1)}),
            ((2, 2, 3), (2, 2, 2, 3), {"size": (4, 4), "stride": (2, 2)}),
        ],
    }
    for kind, (shape, weight, more) in ((k, v) for k, vs in shapes.items() for v in vs):
        for zero in ZEROS[:2]:
            values = np.resize(np.array([-128, 127, -128], np.int8), weight)
            axes = tuple(range(1, len(weight))) if kind != "depthwise_conv2d" else (0, 1)
            sums = np.abs(values.astype(np.int64)).sum(axis=axes) * (128 + abs(zero))
            for given in factors(sums):
                made.add(kind, [code(shape, zero=zero)], weight=values, **given, **more)
                if kind == "fully_connected":
                    fraction = np.full(weight[0], (1 << 22) - 1, np.int32)
                    made.add(
                        kind, [code(shape, zero=zero)], weight=values, fraction=fraction, **given
                    )  # fmt: skip


def low_bits(made: Edges) -> None:
    """Weights of every grid at the ends of their codes: one tap, whole words, and one more."""
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("fully_connected", (1,), (1, 1)),
        ("fully_connected", (33,), (5, 33)),
        ("fully_connected", (224,), (4, 224)),
        ("conv2d", (1, 1, 1), (1, 1, 1, 1)),
        ("conv2d", (3, 2, 33), (5, 1, 1, 33)),
        ("conv2d", (2, 3, 256), (1, 1, 1, 256)),
    ]
    grids = [*((bits, odd, 8) for bits, odd in GRIDS), *((8, True, upper) for upper in (4, 2, 1))]
    for (kind, shape, weight), grid, zero in itertools.product(shapes, grids, ZEROS[:2]):
        bits, odd, upper = grid
        half = 1 << (bits - 1)
        for ends in ([-half], [half - 1], [-half, half - 1, -half]):
            codes = np.resize(np.array(ends, np.int8), weight)
            step, wide = 1 << (8 - upper), codes.astype(np.int64)
            levels = 2 * (wide & -step) + step if odd else wide
            axes = tuple(range(1, len(weight)))
            sums = np.abs(levels).sum(axis=axes) * (128 + abs(zero))
            same = {"weight": codes, "bits": bits, "odd": odd, "upper": upper}
            for given in itertools.islice(factors(sums), len(ends) % 2, None, 7):
                made.add(kind, [code(shape, zero=zero)], **same, **given)


def signs(made: Edges) -> None:
    """Layers on bits: one, a word, a word and one; sums that reach their limits, and never do."""
    for n, outputs in ((1, 1), (32, 5), (33, 32), (2049, 1)):
        x = Tensor("x", "bit", (n,), kind="input")
        for sign in (-1, 0):
            weight = np.full((outputs, 1, 1, n), sign, np.int8)
            same: dict[str, Any] = {"weight": weight, "output_scale": 0.5, "output_zero_point": 3}
            none = np.zeros(outputs, np.int32)
            for end in (-LAST - 1, -n, n, n + 1, LAST):
                threshold = np.full(outputs, end, np.int32)
                for bias in (0, LAST - n, n - LAST):
                    made.add(
                        "binary_conv2d", [x], bias=none + np.int32(bias), multiplier=none,
                        shift=none, threshold=threshold, **same,
                    )  # fmt: skip
            for given in itertools.islice(factors(np.full(outputs, n)), 0, None, 3):
                made.add("binary_conv2d", [x], weight=weight, **given)
    whole = Tensor("x", "bit", (65520,), kind="input")
    taps = np.array([65520], np.int32)
    made.add(
        "binary_conv2d", [whole], weight=np.zeros((1, 1, 1, 65520), np.int8), bias=0 * taps,
        multiplier=0 * taps, shift=0 * taps, threshold=taps, output_scale=0.5, output_zero_point=3,
    )  # fmt: skip
    for shape in ((1,), (32,), (3, 11)):
        for end in (-128, 0, 128):
            threshold = np.full(shape[-1], end, np.int16)
            made.add("threshold", [code(shape)], threshold=threshold)
    for side, window, padding in ((1, 1, (0, 0, 0, 0)), (4, 9, (8, 8, 8, 8)), (5, 2, (1, 0, 1, 0))):
        image = Tensor("x", "bit", (side, side, 32), kind="input")
        for inverted in (np.zeros(32, np.uint8), np.ones(32, np.uint8)):
            made.add(
                "binary_max_pool2d", [image], window=(window, window), stride=(window, 1),
                padding=padding, inverted=inverted,
            )  # fmt: skip


def adapters(made: Edges) -> None:
    """What is added to a layer, whatever the values hold: any rank, zero point and activation."""
    places: tuple[tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]], ...] = (
        ({}, (1,), (1,)),
        ({}, (3,), (65,)),
        ({"kernel": (2, 2), "padding": (1, 0, 0, 1), "stride": (1, 2)}, (3, 2, 5), (3, 3, 3)),
    )
    ends = itertools.cycle((zero, whole) for zero in ZEROS for whole in (False, True))
    for (place, y, x), rank, bits in itertools.product(places, (0, 1, 9, 128), (1, 8)):
        zero, whole = next(ends)
        activation = (-128, 127) if whole else (zero, zero)
        given = {"rank": rank, "bits": bits, "activation": activation}
        node, every = add_delta("n", place, code(y, 0.5, zero), code(x, 0.1, zero), **given)
        made.add(node.KIND, every, output_scale=0.5, output_zero_point=zero, **given, **place)
    place, y, x = places[-1][0], (3, 2, 3), (3, 3, 3)
    for given in ({"own": True}, {"kept": 12}, {"kept": 1}):
        node, every = add_delta("n", place, code(y, 0.5, 3), code(x, 0.1, 3), rank=0, **given)
        made.add(node.KIND, every, output_scale=0.5, output_zero_point=3, rank=0, **given, **place)


def elementwise(made: Edges) -> None:
    """With the smallest output scale that is admitted, where a sum nearly reaches 32 bits."""
    for kind in ("add", "sub", "mul", "maximum", "minimum", "prelu"):
        for a, b in itertools.product((1e-12, 1e-3, 1.0), (1e-9, 1e-3)):
            zero = ZEROS[int(a < b)]
            ins = [code((5,), a, zero), code((5,), b, -1 - zero)]

            def fits(power: int) -> bool:
                trial = Edges()
                return trial.add(kind, ins, output_scale=2.0**power, output_zero_point=zero)  # noqa: B023

            powers = range(-100, 100)
            least = bisect.bisect_left(powers, True, key=fits)
            for power in (*powers[least : least + 2], 90):
                made.add(kind, ins, output_scale=2.0**power, output_zero_point=zero)
        for line in ((1 << 22, -(1 << 22), LAST >> 8, 31), (1, 1, 1, 1), (1, -1, LAST, 39)):
            if kind not in ("add", "sub", "mul"):
                break
            for low, high in ((0, 0), (-1, 127), (1 << 30, -128)):
                even = np.array([*line, low, high], np.int32)
                ins = [code((5,), 1.0, 127), code((5,), 1.0, -128)]
                made.add(kind, ins, even=even, output_zero_point=-128)
        same = [code((5,), 0.5, 127), code((5,), 0.5, 127)]
        made.add(kind, same, output_scale=0.5, output_zero_point=127)


def reductions(made: Edges) -> None:
    for kind, count, zero in itertools.product(
        ("mean", "reduce_max", "reduce_min"), (1, 3, 4096), ZEROS
    ):
        same = {"output_scale": 0.1, "output_zero_point": zero}
        made.add(kind, [code((count, 2), zero=zero)], axes=(0,), **same)
        for scale in SCALES:
            made.add(
                kind, [code((count, 2), zero=zero)], axes=(0,), output_scale=scale,
                output_zero_point=-1 - zero,
            )  # fmt: skip
    for kind in ("average_pool2d", "max_pool2d"):
        for window, stride, padding in (
            ((1, 1), (1, 1), (0, 0, 0, 0)),
            ((3, 3), (1, 2), (2, 2, 2, 2)),
            ((9, 9), (1, 1), (2, 0, 2, 4)),
            ((16, 16), (1, 1), (0, 0, 0, 0)),
        ):
            side = 16 if window[0] == 16 else 5
            made.add(
                kind, [code((side, side, 9))], window=window, stride=stride, padding=padding,
                output_scale=0.1, output_zero_point=3,
            )  # fmt: skip


def summed(made: Edges) -> None:
    """Running sums with the smallest output scale that is admitted, and with large ones."""
    for (exclusive, reverse), (shape, axis), zero in itertools.product(
        itertools.product((False, True), repeat=2),
        (((1,), 0), ((300,), 0), ((3, 5), 1), ((2, 9, 3), 1)),
        ZEROS[:2],
    ):
        given = {"axis": axis, "exclusive": exclusive, "reverse": reverse}
        ins = [code(shape, 1e-3, zero)]

        def fits(power: int) -> bool:
            trial = Edges()
            return trial.add("cumsum", ins, output_scale=2.0**power, **given)  # noqa: B023

        least = bisect.bisect_left(range(-60, 60), True, key=fits) - 60
        for power in (least, least + 1, 3):
            made.add(
                "cumsum", ins, output_scale=2.0**power, output_zero_point=-1 - zero, **given
            )  # fmt: skip


def softmaxes(made: Edges) -> None:
    for length, scale in itertools.product((1, 2, 511, 512, 513, 1024, 2048, 4095), SCALES[1:]):
        made.add("softmax", [code((length,), scale)])
    made.add("softmax", [code((3, 600), 2.0**-30, 127)], beta=17.5)
    for length in (511, 4095):
        made.add("softmax", [code((length,), 2.0**-25)])


def moving_layers(made: Edges) -> None:
    """What moves or looks up codes: the indices at both ends."""
    same: dict[str, Any] = {"output_scale": 0.1, "output_zero_point": 3}
    for kind in ("tanh", "table", "relu", "quantize", "logistic", "leaky_relu", "hard_swish"):
        table = np.arange(256).astype(np.uint8).view(np.int8)[::-1].copy()
        for shape in ((1,), (257,)):
            made.add(kind, [code(shape)], table=table, **same)
    ends = np.array([0, 4, 4, 0], np.uint16)
    made.add("gather", [code((5, 2))], axis=0, indices=ends, **same)
    made.add("resize_nearest", [code((5, 5, 1))], rows=ends, columns=ends[:1], **same)
    thirds = np.array([[0, 4, 0], [4, 4, 1024], [0, 0, 512]], np.int16)
    made.add("resize_bilinear", [code((5, 5, 3))], rows=thirds, columns=thirds, **same)
    made.add("transpose", [code((1, 7, 3))], order=(2, 0, 1), **same)
    made.add("slice", [code((7, 3))], begin=(6, 2), size=(1, 1), stride=(1, 1), **same)
    made.add("slice", [code((7, 3))], begin=(0, 0), size=(3, 2), stride=(3, 2), **same)
    made.add("pad", [code((1, 1))], before=(0, 3), after=(2, 0), value=-128, **same)
    made.add("concatenate", [code((1, 1)), code((4, 1))], axis=0, **same)
    made.add("reshape", [code((6,))], shape=(1, 2, 3))
    for shape in ((1,), (3, 11)):
        condition = Tensor("x", "u8", (1,), kind="input")
        made.add("select", [condition, *[code(shape)] * 3], values=(0, 255, 7))
    for kind, n, lead in itertools.product(("i8", "i16", "i32"), (2, 33), (0, 1, 255, LAST)):
        made.add("gate", [Tensor("x", kind, (n,), kind="input")], lead=lead)
    made.add("argmax", [code((1,))])
    made.add("argmax", [code((3, 300))])


def recurrent(made: Edges) -> None:
    full = np.array([-128, 127, 127], np.int8)
    for factor, zero in itertools.product(((LAST, 0), (LAST, -31), (1 << 30, 1), (0, 0)), ZEROS):
        for time in (np.full((4, 5), 32767, np.int16), np.full((4, 5), 1, np.int16)):
            made.add(
                "svdf", [code((3,), zero=zero)], weight=np.resize(full, (4, 3)), time=time,
                bias=np.array([1 << 20, -(1 << 20)], np.int32), state_factor=factor,
                output_factor=(LAST, factor[1]), output_scale=0.1, output_zero_point=zero,
            )  # fmt: skip
    for shift, bits, clip in itertools.product((-30, -9, 0, 8, 13), (0, 6), (0, 1, 32767)):
        made.add(
            "lstm", [code((2, 3), zero=ZEROS[bits % 3])], weight=np.resize(full, (4, 3, 3)),
            recurrent=np.resize(full, (4, 3, 3)), bias=np.full((4, 3), 60000, np.int32),
            multiplier=np.full((2, 4), LAST, np.int32), shift=np.full((2, 4), shift, np.int32),
            cell_bits=bits, cell_clip=clip, hidden_factor=(LAST, min(shift, 0)),
            output_scale=0.1, output_zero_point=127,
        )  # fmt: skip


def sums_of_images(made: Edges) -> None:
    """Convolutions and pools without rounding: one pixel, one channel, windows beyond the edge."""
    for dtype, shape, outputs, kernel in itertools.product(
        ("bit", "u8", "i8"), ((1, 1, 1), (3, 5, 33), (2, 40, 3)), (1, 2, 38), ((1, 1), (3, 2))
    ):
        x = Tensor("x", dtype, shape, kind="input")
        margins = (2, 1, 2, 1) if kernel == (3, 2) else (0, 0, 0, 0)
        for groups in {1, shape[2]}:
            if outputs % groups:
                continue
            weight = np.resize(
                np.array([-128, 127, -128], np.int8), (outputs, *kernel, shape[2] // groups)
            )
            made.add(
                "conv2d_sums", [x], weight=weight, padding=margins, groups=groups,
                stride=(2, 1) if outputs == 38 else (1, 1), dilation=(1, 1 + (outputs == 2)),
                bias=np.full(outputs, 24575 - 127, np.int32) if outputs == 1 else None,
            )  # fmt: skip
            for bits, odd in GRIDS[:5] if dtype == "bit" else ():
                codes = np.clip(weight, -(1 << bits - 1), (1 << bits - 1) - 1)
                made.add(
                    "conv2d_sums", [x], weight=codes, padding=margins, groups=groups, bits=bits,
                    odd=odd,
                )  # fmt: skip
    for dtype, mode in itertools.product(("bit", "u8", "i16", "i32"), ("sum", "max")):
        for shape, window, margins in (
            ((1, 1, 1), (1, 1), (0,) * 4), ((4, 5, 33), (2, 3), (1, 2, 1, 2)),
            ((17, 15, 1), (17, 15), (0,) * 4),
        ):  # fmt: skip
            x = Tensor("x", dtype, shape, kind="input")
            made.add("pool2d_sums", [x], window=window, stride=(2, 1), padding=margins, mode=mode)


def late_spikes(made: Edges, spikes: Tensor) -> None:
    for steps in (np.arange(33) * 8, np.zeros(33), np.full(33, 255), np.arange(33) % 2):
        made.add("delay", [spikes], steps=steps.clip(0, 255).astype(np.uint8))
    for gather, longest, low in itertools.product((False, True), (0, 15, 31, 255), (-128, -8, -1)):
        weight = np.resize(np.array([low, -low - 1, low], np.int8), (5, 33))
        late = np.resize(np.array([longest, 0], np.uint8), (5, 33))
        bias = np.full(5, LAST - 33 * 128, np.int32) if longest == 31 else None
        made.add("delayed_dense", [spikes], weight=weight, delays=late, bias=bias, gather=gather)


def seeded_layers(made: Edges) -> None:
    """One of each, whole words and one more, lanes that are full; the ends of seeds and weights."""
    sizes = ((1, 1), (33, 33), (64, 300), (2, 600), (4096, 1), (1, 8192))
    for dtype, (outputs, inputs) in itertools.product(("bit", "u8", "i8"), sizes):
        x = Tensor("x", dtype, (inputs,), kind="input")
        zeros = {"bit": (0,), "u8": (0, 255), "i8": (-128, 127)}[dtype]
        for seed, size, zero in itertools.product((0, 0xFFFFFFFF), (1, 32767), zeros):
            for fan_out in (None, 1, 65535) if outputs * inputs == 1 else (None, 1, 7):
                made.add(
                    "seeded_dense", [x], outputs=outputs, seed=seed, size=size, zero=zero,
                    fan_out=fan_out,
                )  # fmt: skip


def spiking(made: Edges) -> None:
    spikes = Tensor("x", "bit", (33,), kind="input")
    values = Tensor("x", "u8", (33,), kind="input")
    current = {w: Tensor("x", w, (33,), kind="input") for w in ("i16", "i32")}
    end = np.array([LAST], np.int32)
    for reset, timing, wide in itertools.product(
        ("none", "zero", "subtract", "value"),
        ("same_step", "next_step", "next_step_input_lost"),
        ("i16", "i32"),
    ):
        for leak, shift, threshold, refractory in (
            (32768, 15, 0, 255), (0, 0, LAST, 0), (32767, 7, 32767, 1), (1, 15, 1, 0),
        ):  # fmt: skip
            made.add(
                "lif", [current[wide]], leak=leak, input_shift=shift,
                threshold=np.array([threshold], np.int32), reset=reset, timing=timing,
                refractory=refractory, initial=(-(1 << 31), LAST)[shift % 2],
                reset_value=end if reset == "value" else None,
            )  # fmt: skip
    for wide, leak, shift in itertools.product(("i16", "i32"), (0, 1, 32768), (0, 15)):
        made.add("leaky_readout", [current[wide]], leak=leak, input_shift=shift)
    for outputs, inputs in ((1, 33), (5, 33)):
        weight = np.resize(np.array([-128, 127, -128], np.int8), (outputs, inputs))
        for bias in (None, np.full(outputs, (1 << 31) - 1 - 33 * 128 * 255, np.int32)):
            for x in (spikes, values):
                made.add("dense", [x], weight=weight, bias=bias)
            for bits, odd in GRIDS[:5]:
                codes = np.clip(weight, -(1 << bits - 1), (1 << bits - 1) - 1)
                made.add("dense", [spikes], weight=codes, bias=bias, bits=bits, odd=odd)
    leaks = np.array([0, 1, 32768], np.uint32)
    for wide, timing in itertools.product(("i16", "i32"), ("same_step", "next_step")):
        made.add(
            "lif", [current[wide]], leaks=leaks, threshold=end, timing=timing, leak_round="floor"
        )
        made.add(
            "lif", [current[wide]], leaks=np.array([1 << 31] * 11, np.uint32), leak_bits=31,
            threshold=np.arange(33, dtype=np.int32), reset="value", timing=timing,
            reset_value=np.array([-5, 7, 0], np.int32),
                initials=np.resize(np.array([LAST, -LAST, 0], np.int32), 33),
                drift=np.array([1 << 30, -(1 << 30), 0], np.int32),
        )  # fmt: skip
        made.add("leaky_readout", [current[wide]], leaks=leaks, input_shift=15)
    alpha_synapses(made, current)
    codes_of_sums(made, current)
    sums_of_images(made)
    made.add("sum", [current["i16"]] * 5)
    made.add("sum", [current["i16"], current["i32"]])
    made.add("one_to_one", [spikes], weight=np.array([-32768, 32767, 0], np.int16))
    made.add("one_to_one", [spikes], weight=np.full(1, -32768, np.int16))
    made.add("one_to_one", [values], weight=np.array([-128, 128, 0], np.int16))
    late_spikes(made, spikes)
    made.add("spike_count", [spikes])
    made.add("latency", [values])
    made.add("poisson", [values, Tensor("x", "u32", (1,), kind="input")])
    for gain, zero in ((1, 0), (128, 0), (-128, 255), (128, 255)):
        made.add("direct", [values], gain=gain, zero_point=zero)
    made.add("frame", [Tensor("x", "u8", (made.steps, 33), kind="input")])
    made.add("frame", [Tensor("x", "bit", (made.steps, 33), kind="input")])


def alpha_synapses(made: Edges, current: Mapping[str, Tensor]) -> None:
    """Leaks, parts and thresholds at both ends, each reset and comparison."""
    for wide, reset, compare in itertools.product(
        ("i16", "i32"), ("none", "zero", "subtract"), (">", ">=")
    ):
        for leak, threshold, shift in ((0, 0, 0), (32768, LAST, 15), (1, 5, 0)):
            made.add(
                "alpha", [current[wide]], leak=leak, inhibitory_leak=32768 - leak, part=leak,
                threshold=np.array([threshold], np.int32), reset=reset, compare=compare,
                amount=np.array([LAST], np.int32) if reset == "subtract" else None,
                input_shift=shift,
            )  # fmt: skip
    leaks = np.array([0, 1 << 31, 1], np.uint32)
    made.add(
        "alpha", [current["i32"]], leaks=leaks, inhibitory_leaks=leaks[::-1].copy(), parts=leaks,
        leak_bits=31, leak_round="nearest", threshold=np.arange(33, dtype=np.int32),
        reset="subtract", amount=np.array([0, 1, LAST], np.int32),
    )  # fmt: skip


def codes_of_sums(made: Edges, current: Mapping[str, Tensor]) -> None:
    """Multipliers and shifts at both ends; those that may carry beyond 32 bits are left out."""
    for wide, multiplier, shift in itertools.product(
        ("i16", "i32"), (0, 1 << 30, LAST), (-31, -1, 0, 16, 30)
    ):
        for limits in ((-128, 127), (0, 0)):
            made.add(
                "codes", [current[wide]], multiplier=np.array([multiplier], np.int32),
                shift=np.array([shift], np.int32), limits=limits,
            )  # fmt: skip
    made.add(
        "codes", [current["i16"]], multiplier=np.resize([0, 1 << 30, LAST], 33).astype(np.int32),
        shift=np.resize([-31, 16, 0, -1], 33).astype(np.int32),
    )  # fmt: skip


GROUPS: dict[str, tuple[Callable[[Edges], None], int]] = {
    "weighted": (weighted_layers, 1),
    "low_bits": (low_bits, 1),
    "signs": (signs, 1),
    "adapters": (adapters, 1),
    "elementwise": (elementwise, 1),
    "reduced": (reductions, 1),
    "summed": (summed, 1),
    "softmaxes": (softmaxes, 1),
    "moved": (moving_layers, 1),
    "recurrent": (recurrent, 1),
    "spiking": (spiking, 3),
    "seeded": (seeded_layers, 1),
}


@functools.cache
def edges(name: str) -> Edges:
    """The operators of one group, made once: not to be changed."""
    fill, steps = GROUPS[name]
    made = Edges(steps=steps)
    fill(made)
    return made


def some(steps: int) -> Graph:
    """A part of all groups with so many steps, every kind among it, in one graph."""
    found = Edges(steps=steps)
    for name, (_, own) in GROUPS.items():
        if own != steps:
            continue
        every = edges(name)
        inputs = {tensor.name: tensor for tensor in every.inputs}
        kinds: dict[str, list[Operator]] = {}
        for node in every.nodes:
            kinds.setdefault(node.KIND, []).append(node)
        for nodes in kinds.values():
            for node in nodes[:: max(1, len(nodes) // 3)]:
                ins = [inputs[n] for n in node.inputs]
                renamed = [replace(t, name=f"{name}_{t.name}") for t in ins]
                found.inputs += renamed
                found.nodes.append(
                    replace(node, name=f"{name}_{node.name}", inputs=tuple(t.name for t in renamed))
                )
    return found.graphs("some")[0]


def end_inputs(graph: Graph) -> dict[str, Array]:
    """All elements the lowest, the highest, 0 or alternating; one apart from flat; random."""
    rng = np.random.default_rng(3)
    found = {}
    for tensor in graph.inputs:
        low, high = (int(end) for end in tensor.limits)
        flat = np.zeros((7, *tensor.shape), np.int64)
        flat[0], flat[1], flat[2] = low, high, min(max(0, low), high)
        flat[3].reshape(-1)[::2], flat[3].reshape(-1)[1::2] = low, high
        flat[4].reshape(-1)[0] = high
        flat[5] = high
        flat[5].reshape(-1)[-1] = low
        flat[6] = rng.integers(low, high, tensor.shape, endpoint=True)
        found[tensor.name] = flat.astype(tensor.numpy_dtype)
    return found
