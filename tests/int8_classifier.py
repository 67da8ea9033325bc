"""A small int8 network with every operator that fine-tuning knows, and its float meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as f

from spikelet.graph import Array, Graph, Operator, Tensor
from spikelet.graph.ops.add import Add
from spikelet.graph.ops.conv2d import Conv2d
from spikelet.graph.ops.depthwise_conv2d import DepthwiseConv2d
from spikelet.graph.ops.fully_connected import FullyConnected
from spikelet.graph.ops.mean import Mean
from spikelet.graph.ops.reshape import Reshape
from spikelet.graph.ops.softmax import Softmax
from spikelet.graph.requantise import quantize_multiplier
from spikelet.learn import Setting

SHAPE, CLASSES = (6, 7, 3), 4
FEATURES = "flat"
WEIGHTED = ("first", "deep", "wide", "point", "head")
GEOMETRY: dict[str, dict[str, Any]] = {
    "first": {"stride": (2, 1), "padding": (1, 1, 0, 1)},
    "deep": {"padding": (1, 0, 1, 2)},
    "wide": {},
    "point": {},
}


def classifier(relu_after_add: bool = False) -> Graph:
    """conv 3x3 / 2 -> depthwise 3x3 -> conv 1x1 -> conv 1x1, added -> mean -> dense."""
    rng = np.random.default_rng(5)
    scales = {"x": 0.02}
    nodes: list[Operator] = []

    def weighted(
        kind: type[Operator], name: str, x: str, shape: tuple[int, ...], relu: bool, **more: Any
    ) -> None:
        channels = shape[2] if kind is DepthwiseConv2d else shape[0]
        taps = int(np.prod(shape)) // channels
        weight = np.clip(rng.normal(0, 45, shape), -127, 127).astype(np.int8)
        step = rng.uniform(0.7, 1.3, channels) * (2 / taps) ** 0.5 / 45
        scales[name] = 0.02 if relu else 0.04
        pairs = [quantize_multiplier(float(s) * scales[x] / scales[name]) for s in step]
        nodes.append(
            kind(
                name=name,
                inputs=(x,),
                weight=weight,
                bias=np.rint(rng.normal(0, 0.1, channels) / step / scales[x]).astype(np.int32),
                multiplier=np.array([m for m, _ in pairs], np.int32),
                shift=np.array([s for _, s in pairs], np.int32),
                output_scale=scales[name],
                output_zero_point=-128 if relu else 3,
                **more,
            )
        )

    weighted(Conv2d, "first", "x", (5, 3, 3, 3), True, **GEOMETRY["first"])
    weighted(DepthwiseConv2d, "deep", "first", (3, 3, 5), False, **GEOMETRY["deep"])
    weighted(Conv2d, "wide", "deep", (6, 1, 1, 5), True)
    weighted(Conv2d, "point", "wide", (6, 1, 1, 6), not relu_after_add)
    zero = -128
    nodes.append(
        Add(name="sum", inputs=("wide", "point"), output_scale=0.04, output_zero_point=zero)
    )
    nodes.append(
        Mean(
            name="average", inputs=("sum",), axes=(0, 1), keep_dims=True,
            output_scale=0.04, output_zero_point=zero,
        )
    )  # fmt: skip
    nodes.append(Reshape(name="flat", inputs=("average",), shape=(6,)))
    scales["flat"] = 0.04
    weighted(FullyConnected, "head", "flat", (CLASSES, 6), False)
    nodes.append(
        Softmax(name="chances", inputs=("head",), output_scale=1 / 256, output_zero_point=-128)
    )
    x = Tensor("x", "i8", SHAPE, kind="input", scale=scales["x"], zero_point=-7)
    return Graph("classifier", 1, [x], nodes, ["chances"])


def samples(n: int, seed: int = 0) -> tuple[dict[str, Array], Array]:
    """Inputs and labels that can be learned: the label moves the mean of a channel."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    codes = rng.normal(-7, 40, (n, *SHAPE))
    codes[..., 0] += 25 * labels[:, None, None] - 40
    codes[..., 1] -= 25 * (labels % 2)[:, None, None]
    return {"x": np.clip(np.rint(codes), -128, 127).astype(np.int8)}, labels


def setting(graph: Graph, seed: int = 0) -> Setting:
    return Setting(FEATURES, CLASSES, seed, samples(40, 9)[0])


class AsCodes(torch.autograd.Function):
    """Real numbers rounded and held as a tensor's int8 codes; gradients pass between the limits."""

    @staticmethod
    def forward(
        ctx: Any, y: torch.Tensor, scale: float, low: float, high: float, half: torch.Tensor
    ) -> torch.Tensor:
        codes = torch.clamp(y / scale, low, high)
        codes = torch.sign(codes) * torch.floor(codes.abs() + half)
        ctx.save_for_backward((codes > low) & (codes < high))
        return codes * scale

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return grads[0] * ctx.saved_tensors[0], None, None, None, None


class Reference(torch.nn.Module):
    """The same network of real weights, in float64, its activations rounded to int8 codes."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        for node in graph.nodes:
            if node.name not in WEIGHTED:
                continue
            x = graph.tensors[node.inputs[0]]
            step = node.multiplier * 2.0 ** (node.shift - 31.0) * node.output_scale / x.scale
            axis = 2 if isinstance(node, DepthwiseConv2d) else 0
            spread = np.moveaxis(node.weight.astype(np.float64), axis, -1) * step
            weight = np.moveaxis(spread, -1, axis)
            if isinstance(node, DepthwiseConv2d):
                weight = weight.transpose(2, 0, 1)[:, None]
            elif isinstance(node, Conv2d):
                weight = weight.transpose(0, 3, 1, 2)
            for part, values in (("weight", weight), ("bias", node.bias * step * x.scale)):
                self.register_parameter(
                    f"{node.name}_{part}",
                    torch.nn.Parameter(torch.tensor(np.ascontiguousarray(values))),
                )
        self.graph = graph

    def deployed_outputs(self, codes: Array, first: str) -> dict[str, torch.Tensor]:
        """What the layers before `first` write, which stay int8: real values."""
        trace = self.graph.run({"x": codes}, trace=True).trace
        found = {"x": codes, **{name: trace[name][0] for name in WEIGHTED}}
        real = {}
        for name in ("x", *WEIGHTED[: WEIGHTED.index(first)]):
            tensor = self.graph.tensors[name]
            values = torch.tensor(
                (found[name].astype(np.float64) - tensor.zero_point) * tensor.scale
            )
            real[name] = values.permute(0, 3, 1, 2)
        if first == "head":
            tensor, codes = self.graph.tensors["flat"], trace["flat"][0]
            real["flat"] = torch.tensor((codes - float(tensor.zero_point)) * tensor.scale)
        return real

    def codes(self, name: str, y: torch.Tensor) -> torch.Tensor:
        """What a layer makes of its sums."""
        tensor = self.graph.tensors[name]
        ends = [float(end - tensor.zero_point) for end in (-128, 127)]
        ends = [-1e9, 1e9] if name == "head" else ends
        node = next(n for n in self.graph.nodes if n.name == name)
        half = torch.tensor(0.5 + 2.0**-13)
        if isinstance(node, Conv2d | DepthwiseConv2d):  # sums are rounded twice
            half = torch.tensor(0.5 + 2.0 ** (node.shift - 1.0))[:, None, None]
        elif isinstance(node, Mean):
            half = torch.tensor(0.5 + 2.0 ** (node.factor()[1] - 1))
        found: torch.Tensor = AsCodes.apply(y, tensor.scale, *ends, half)  # type: ignore[no-untyped-call]
        return found

    def weighted(self, name: str, real: dict[str, torch.Tensor], x: str) -> torch.Tensor:
        if name in real:
            return real[name]
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        top, left, bottom, right = GEOMETRY[name].get("padding", (0, 0, 0, 0))
        padded = f.pad(real[x], (left, right, top, bottom))
        stride = GEOMETRY[name].get("stride", 1)
        y = f.conv2d(padded, weight, bias, stride, groups=5 if name == "deep" else 1)
        return self.codes(name, y)

    def forward(self, codes: Array, first: str = "first") -> torch.Tensor:
        """Scores of samples (N, *SHAPE); layers before `first` in their int8 codes."""
        real = self.deployed_outputs(codes, first)
        x = "x"
        for name in WEIGHTED[:-1]:
            real[name] = self.weighted(name, real, x)
            x = name
        total = self.codes("sum", real["wide"] + real["point"])
        flat = real.get("flat", self.codes("average", total.mean((2, 3))))
        return self.codes("head", flat @ self.head_weight.T + self.head_bias)

    def stored_layout(self, name: str) -> Array:
        """A parameter in the layout of the learned tensor `layer.part`."""
        layer, part = name.split(".")
        values: Array = getattr(self, f"{layer}_{part}").detach().numpy()
        if layer == "deep" and values.ndim == 4:
            return values[:, 0].transpose(1, 2, 0)
        return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values

    def store(self, name: str, values: Array) -> None:
        """The inverse."""
        layer, part = name.split(".")
        if values.ndim == 3:
            values = values[:, :, None]
        if values.ndim == 4:
            values = values.transpose(3, 2, 0, 1)
        getattr(self, f"{layer}_{part}").data.copy_(torch.tensor(values))
