"""A small convolutional network learns as in PyTorch: losses and weights, whatever part learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from spikelet.graph import Array, Graph, Learned, Operator
from spikelet.learn import Twin, identity
from spikelet.learn.layers.average_pool2d import AveragePool2dForward, AveragePool2dInputGradient
from spikelet.learn.layers.conv2d import Conv2dForward, Conv2dInputGradient, Conv2dUpdate
from spikelet.learn.layers.dense import DenseForward, DenseUpdate
from spikelet.learn.layers.depthwise_conv2d import (
    DepthwiseConv2dForward,
    DepthwiseConv2dInputGradient,
    DepthwiseConv2dUpdate,
)
from spikelet.learn.layers.max_pool2d import MaxPool2dForward, MaxPool2dInputGradient
from spikelet.learn.layers.softmax_cross_entropy import SoftmaxCrossEntropy
from spikelet.learn.learner import extend
from spikelet.train.data import load

LEARNT = 2.25  # mean loss of the last 40 samples; at first it is 2.31
STEP: dict[str, Any] = {"rate": 0.05, "momentum": 0.5, "decay": 1e-3}
SAME: dict[str, Any] = {"kernel": (3, 3), "padding": (1, 1, 1, 1)}
# Of conv1 (1 -> 7), depthwise (7) and conv2 (7 -> 10): outputs whose weights learn, and biases.
MASKS: dict[str, tuple[tuple[int, bool], ...]] = {
    "all": ((7, True), (7, True), (10, True)),
    "biases": ((0, True), (0, True), (0, True)),
    "first channels": ((3, True), (5, False), (4, True)),
    "not the last": ((7, True), (7, True), (0, False)),
    "only the last": ((0, False), (0, False), (10, True)),
}


def network(seed: int) -> nn.Sequential:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 7, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(7, 7, 3, padding=1, groups=7), nn.ReLU(),
        nn.Conv2d(7, 10, 1, stride=1), nn.ReLU(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(40, 10),
    )  # fmt: skip


def to_graph_layout(layer: nn.Conv2d) -> Array:
    """Weights as the graph has them: outputs last."""
    w = layer.weight.detach().numpy()
    return (w[:, 0].transpose(1, 2, 0) if layer.groups > 1 else w.transpose(2, 3, 1, 0)).copy()


class Made:
    """The network as a graph; `masks` says what of its convolutions learns."""

    def __init__(self, net: nn.Sequential, masks: tuple[tuple[int, bool], ...]) -> None:
        self.learned: list[Learned] = []
        self.nodes: list[Operator] = []
        self.frozen: dict[str, dict[str, Any]] = {}
        self.weights: dict[str, list[str]] = {}
        for name, i, (n, bias) in zip(("c1", "dw", "c2"), (0, 3, 5), masks, strict=True):
            layer = net[i]
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            weight, b = to_graph_layout(layer), layer.bias.detach().numpy().copy()
            kept = None if n == weight.shape[-1] else weight[..., n:].copy()
            self.frozen[name] = {"frozen": kept}
            self.weights[name] = []
            if n:
                self.add(name, "weight", weight[..., :n].copy())
            if bias:
                self.add(name, "bias", b)
            self.frozen[name]["frozen_bias"] = None if bias else b
        last = net[9]
        assert isinstance(last, nn.Linear)
        self.weights["fc"] = []
        by_channel = last.weight.detach().numpy().reshape(10, 10, 2, 2)
        self.add("fc", "weight", by_channel.transpose(0, 2, 3, 1).reshape(10, 40).copy())
        self.add("fc", "bias", last.bias.detach().numpy().copy())

    def add(self, layer: str, part: str, values: Array) -> None:
        name = f"{layer}.{part}"
        self.learned.append(Learned.of(name, "f32", values.shape, values))
        self.weights[layer].append(name)

    def learning(self, layer: str) -> list[str]:
        """The learned weight, if there is one."""
        return [name for name in self.weights[layer] if name.endswith("weight")]

    def update(self, cls: Any, name: str, error: str, x: str, channels: int, **own: Any) -> None:
        """The update of a convolution, where something of it learns."""
        if not self.weights[name]:
            return
        kept = self.frozen[name]["frozen"]
        node = cls(
            name=f"{name}_update", inputs=(), bias=f"{name}.bias" in self.weights[name],
            frozen_outputs=0 if kept is None else kept.shape[-1], **own, **STEP,
        )  # fmt: skip
        parts = {"error": error, "x": x, "weight": f"{name}.weight", "bias": f"{name}.bias"}
        shape = {"c1": (1, 7), "dw": (7, 7), "c2": (7, 10)}[name]
        lead = own["kernel"] if name == "dw" else (*own["kernel"], shape[0])
        n = shape[1] - node.frozen_outputs
        for role, size in (("velocity", (*lead, n)), ("bias_velocity", (shape[1],))):
            if role in node.roles((1, 1, channels)):
                self.learned.append(Learned.of(f"{node.name}.{role}", "f32", size))
                parts[role] = f"{node.name}.{role}"
        node.inputs = tuple(parts[role] for role in node.roles((1, 1, channels)))
        self.nodes.append(node)

    def graph(self) -> Graph:
        window: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2)}
        one: dict[str, Any] = {"kernel": (1, 1), "outputs": 10}
        c1: dict[str, Any] = {**SAME, "outputs": 7}

        w, f = self.weights, self.frozen
        self.nodes = [
            Conv2dForward(name="c1", inputs=("x", *w["c1"]), relu=True, **c1, **f["c1"]),
            MaxPool2dForward(name="pool", inputs=("c1",), **window),
            DepthwiseConv2dForward(
                name="dw", inputs=("pool", *w["dw"]), relu=True, **SAME, **f["dw"]
            ),
            Conv2dForward(name="c2", inputs=("dw", *w["c2"]), relu=True, **one, **f["c2"]),
            AveragePool2dForward(name="mean", inputs=("c2",), **window),
            DenseForward(name="fc", inputs=("mean", *w["fc"]), outputs=10),
            SoftmaxCrossEntropy(name="loss", inputs=("fc", "label", "loss.health")),
        ]
        fc = DenseUpdate(name="fc_update", inputs=(), outputs=10, gradient=True, **STEP)
        velocities = [
            Learned.of("fc_update.velocity", "f32", (10, 40)),
            Learned.of("fc_update.bias_velocity", "f32", (10,)),
        ]
        fc.inputs = ("loss", "mean", *w["fc"], *(k.tensor.name for k in velocities))
        self.learned += [*velocities, Learned.of("loss.health", "i32", (1,))]
        self.nodes += [
            fc,
            AveragePool2dInputGradient(
                name="d_c2", inputs=("fc_update", "c2"), shape=(4, 4, 10), mask=True, **window
            ),
            Conv2dInputGradient(
                name="d_dw", inputs=("d_c2", *self.learning("c2"), "dw"), shape=(4, 4, 7),
                mask=True, frozen=f["c2"]["frozen"], **one,
            ),
        ]  # fmt: skip
        self.update(Conv2dUpdate, "c2", "d_c2", "dw", 7, **one)
        self.nodes.append(
            DepthwiseConv2dInputGradient(
                name="d_pool", inputs=("d_dw", *self.learning("dw")), shape=(4, 4, 7),
                frozen=f["dw"]["frozen"], **SAME,
            )
        )  # fmt: skip
        self.update(DepthwiseConv2dUpdate, "dw", "d_dw", "pool", 7, **SAME)
        self.nodes.append(
            MaxPool2dInputGradient(
                name="d_c1", inputs=("d_pool", "c1"), shape=(8, 8, 7), mask=True, **window
            )
        )
        self.update(Conv2dUpdate, "c1", "d_c1", "x", 1, **c1)
        backbone = identity((8, 8, 1), "i8", scale=1 / 16)
        for node in self.nodes:  # the network reads the backbone's input
            node.inputs = tuple("features" if name == "x" else name for name in node.inputs)
        return extend(backbone, self.nodes, self.learned, ["fc"], classes=10)


def loss(logits: Array, label: int) -> float:
    z = logits.astype(np.float64)
    return float(np.log(np.exp(z - z.max()).sum()) + z.max() - z[label])


def torch_losses(
    net: nn.Sequential, masks: tuple[tuple[int, bool], ...], x: Array, y: Array
) -> list[float]:
    """PyTorch learns the same samples; its losses, each before its step."""
    weights, biases = [], []
    for i, (n, bias) in zip((0, 3, 5), masks, strict=True):
        layer = net[i]
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        keep = torch.zeros_like(layer.weight)
        keep[:n] = 1
        start = layer.weight.detach().clone()
        weights.append((layer.weight, keep, start))
        biases.append((layer.bias, bias, layer.bias.detach().clone()))
    decayed = [w for w, _, _ in weights] + [net[9].weight]  # type: ignore[list-item]
    plain = [b for b, _, _ in biases] + [net[9].bias]  # type: ignore[list-item]
    groups = [{"params": decayed, "weight_decay": STEP["decay"]}, {"params": plain}]
    descent = torch.optim.SGD(groups, lr=STEP["rate"], momentum=STEP["momentum"])
    losses = []
    for sample, label in zip(x, y, strict=True):
        descent.zero_grad()
        real = torch.from_numpy(sample.astype(np.float32) / 16)[None, None, :, :, 0]
        value = nn.functional.cross_entropy(net(real), torch.tensor([int(label)]))
        value.backward()
        descent.step()
        losses.append(value.item())
        with torch.no_grad():
            for w, keep, start in weights:
                w.copy_(keep * w + (1 - keep) * start)
            for b, learns, start in biases:
                if not learns:
                    b.copy_(start)
    return losses


@pytest.mark.parametrize("mask", MASKS)
def test_losses_and_weights_are_pytorchs(mask: str) -> None:
    """Of 200 steps, or 60 of a part, losses within 1e-4 and weights within 1e-4, float32."""
    steps = 200 if mask == "all" else 60
    data = load("digits")
    x = (data.x_train[:steps] // 2).reshape(steps, 8, 8, 1).astype(np.int8)
    y = data.y_train[:steps]
    net = network(3)
    made = Made(net, MASKS[mask])
    graph = made.graph()
    twin = Twin(graph)
    logits = twin.observe({"x": x}, y)["fc"]
    found = [loss(row.reshape(-1), int(label)) for row, label in zip(logits, y, strict=True)]
    wanted = torch_losses(net, MASKS[mask], x, y)
    assert np.abs(np.array(found) - wanted).max() < 1e-4
    assert wanted[0] > 2.2
    if mask == "all":
        assert np.mean(wanted[-40:]) < LEARNT
    for name, i in (("c1", 0), ("dw", 3), ("c2", 5)):
        layer = net[i]
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        if f"{name}.weight" in twin.learned:
            n = twin.learned[f"{name}.weight"].shape[-1]
            assert np.allclose(
                twin.learned[f"{name}.weight"], to_graph_layout(layer)[..., :n], rtol=0, atol=1e-4
            )
        if f"{name}.bias" in twin.learned:
            assert np.allclose(
                twin.learned[f"{name}.bias"], layer.bias.detach().numpy(), rtol=0, atol=1e-4
            )
