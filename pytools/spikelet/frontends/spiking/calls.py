"""The calls of a program, followed back from its output, as layers of a spiking network."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from spikelet.frontends.spiking.framework import Described, every_class, framework_of
from spikelet.frontends.spiking.network import (
    Activation,
    Add,
    Conv2d,
    Flatten,
    Layer,
    Linear,
    Neurons,
    OneToOne,
    Pool2d,
    Previous,
    Seeded,
)
from spikelet.frontends.spiking.seeded import SeededLinear
from spikelet.frontends.spiking.tape import Call, Tape
from spikelet.graph import Array
from spikelet.graph.graph import NAME_BYTES
from spikelet.refusal import ImportRefused

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_POOLS = (nn.AvgPool1d, nn.AvgPool2d, nn.MaxPool1d, nn.MaxPool2d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
_PLAIN = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Identity)
_ACTIVATIONS = (nn.Hardtanh, nn.Tanh)  # ReLU6 is a Hardtanh
LAYERS = (
    nn.Linear,
    SeededLinear,
    *_CONVOLUTIONS,
    *_NORMS,
    *_POOLS,
    nn.Flatten,
    *_PLAIN,
    *_ACTIVATIONS,
)
SUPPORTED = (
    "Linear, SeededLinear, Conv1d, Conv2d, BatchNorm behind them, average and max pools, Flatten, "
    "Dropout, sums, Hardtanh, ReLU6 and Tanh of sums and integrators, and neurons"
)
Readout = Literal["spike_count", "membrane", "sum"]
_RESHAPES = ("flatten", "view", "reshape")
_ADDS = ("add", "__add__", "__radd__", "__iadd__", "add_")
_NOTHING = ("contiguous", "double", "float", "clone", "detach", "dropout", "to")
_LONGEST = NAME_BYTES - 9  # room for what is derived from it: _current, _2


def is_layer(module: nn.Module) -> bool:
    """Whether a module is one call: a layer that is known, or neurons of any framework in use."""
    if framework_of(module) is not None:
        return True
    # Subclasses that leave forward as it is, or add a time axis to it, compute the same.
    return isinstance(module, LAYERS)


class Builder:
    """Layers as they are found, from the output back to the input.

    Args:
        tape: of a whole run.
        x: the samples (N, *shape), or (T, N, *shape) with `per_step`.
        steps: T.
        per_step: see `read`.
        name: of the network.
    """

    def __init__(self, tape: Tape, x: Tensor, steps: int, per_step: bool, name: str) -> None:
        self.tape, self.x, self.steps, self.per_step = tape, x, steps, per_step
        self.layers: list[Layer] = []
        shape = tuple(x.shape[2:] if per_step else x.shape[1:])
        self.inputs = {"x": _image(shape)}
        self.neurons: dict[str, tuple[nn.Module, Described]] = {}
        self._made: dict[tuple[int, int], str] = {}
        self._carried: dict[str, str] = {}
        self._taken = {"x", "seed", "encode", "spikes", "counts", "label", "sum", name}
        self._pending: set[nn.Module] = set()

    def read(self, outputs: list[Any]) -> tuple[str, Readout]:
        """The name of the layer that the program answers with, and what of it."""
        last = outputs[-1]
        if (len(outputs) == 1 and self.steps > 1) or isinstance(last, list | tuple):
            last = self._last_of(last)
        tensor = self._in_last_step(last)
        call, place = self._writer(tensor, None)
        found = self._neurons_of(call)
        if found is None:
            return self.name_of(tensor, call), "sum"
        if found.rule.threshold is None:
            return self._add_neurons(call, found), "membrane"
        if place == found.spikes:
            return self._add_neurons(call, found), "spike_count"
        if found.rule.reset != "none":
            raise ImportRefused(
                f"layer {call.path}: the network answers with its membrane, which is reset",
                "a membrane that is reset does not hold the whole evidence",
                "answer with the spikes, or use neurons without a reset in the last layer",
            )
        silent = dataclasses.replace(found.rule, threshold=None)
        return self._add_neurons(call, dataclasses.replace(found, rule=silent)), "membrane"

    def in_order(self) -> tuple[Layer, ...]:
        """The layers, each behind what it reads in the same step."""
        there, left, found = set(self.inputs), list(self.layers), list[Layer]()
        while left:
            ready = next(layer for layer in left if there.issuperset(layer.inputs))
            left.remove(ready)
            found.append(ready)
            there.add(ready.name)
        return tuple(found)

    def spikes(self) -> dict[str, Array]:
        """Of each layer of neurons that spikes what the program computed, (T, N, *shape)."""
        found: dict[str, list[Array]] = {}
        for call in self.tape.calls:
            for name, (module, described) in self.neurons.items():
                if call.what is module and described.rule.threshold is not None:
                    tensor = call.outputs[described.spikes]
                    found.setdefault(name, []).append(tensor.double().cpu().numpy())
        return {name: np.stack(values) for name, values in found.items()}

    # The output

    def _last_of(self, answer: Any) -> Any:
        """Of several answers the first that is made of spikes, else the first."""
        leaves = [leaf for leaf in tree_leaves(answer) if isinstance(leaf, Tensor)]
        if not leaves:
            raise ImportRefused(f"the network answers with {type(answer).__name__}, no tensor")
        for leaf in leaves:
            call = self.tape.written_by(self._in_last_step(leaf))
            found = None if call is None else self._neurons_of(call[0])
            if call is not None and found is not None and call[1] == found.spikes:
                return leaf
        return leaves[0]

    def _in_last_step(self, tensor: Tensor) -> Tensor:
        """What a stack, a sum or a mean over time was made of in the last step."""
        found = self.tape.written_by(tensor)
        if found is None or isinstance(found[0].what, nn.Module):
            return tensor
        call = found[0]
        if call.path in ("stack", "cat", "concat"):
            parts = [a for a in tree_leaves(call.arguments[:1]) if isinstance(a, Tensor)]
            return self._in_last_step(parts[-1])
        if call.path in ("sum", "mean", *_NOTHING) or call.path in ("__truediv__", "div"):
            return self._in_last_step(call.inputs[0])
        if call.path in _ADDS and self._terms(tensor) == self.steps:
            return self._in_last_step(call.inputs[-1])
        return tensor

    def _terms(self, tensor: Tensor) -> int:
        """How many tensors a chain of additions adds up, from 0 or from a constant on."""
        count = 0
        while (found := self.tape.written_by(tensor)) is not None:
            call = found[0]
            if isinstance(call.what, nn.Module) or call.path not in _ADDS:
                return count + 1
            count += 1
            if len(call.inputs) == 1:  # the first one, to a number
                break
            tensor = call.inputs[0]
        return count

    # Back from a tensor

    def _writer(self, tensor: Tensor, reader: Call | None) -> tuple[Call, int]:
        found = self.tape.written_by(tensor)
        if found is None:
            where = "the output" if reader is None else reader.path
            raise ImportRefused(
                f"{where} reads a tensor {tuple(tensor.shape)} that no layer wrote",
                "a constant, or what was computed before the network ran",
                f"supported are {SUPPORTED}",
            )
        return found

    def name_of(self, tensor: Tensor, reader: Call) -> str:
        """The network's tensor, with all layers that it needs; for a call that reads it."""
        if self._is_input(tensor):
            return "x"
        call, place = self._writer(tensor, reader)
        if (call.number, place) in self._made:
            return self._made[call.number, place]
        found = self._neurons_of(call)
        if found is not None:
            return self._neurons_name(call, place, found)
        if isinstance(call.what, _ACTIVATIONS):
            return self._activation_name(call)
        name = self._add(call)
        self._made[call.number, place] = name
        return name

    def _activation_name(self, call: Call) -> str:
        """A function, of this step or of the one before."""
        if call.turn == self.steps - 1:
            name = self._give(call.path, "function")
            self._made[call.number, 0] = name
            source = self.name_of(call.inputs[0], call)
            return self._append(activation(call.what, name, source, call.path))
        if call.turn != self.steps - 2:
            raise ImportRefused(
                f"layer {call.path}: what it wrote in step {call.turn} is read in step "
                f"{self.steps - 1}",
                next="a layer reads values of the same step or of the one before",
            )
        latest = self._latest(call)
        if call.path not in self._carried:
            name = self._carried[call.path] = self._give(f"{call.path}_last")
            of = self.name_of(latest.outputs[0], latest)
            shape = _image(tuple(call.outputs[0].shape[1:]))
            self.layers.append(Previous(name=name, of=of, shape=shape, source=call.path))
        return self._carried[call.path]

    def _latest(self, call: Call) -> Call:
        """The same module's call in the last step."""
        return next(
            c for c in reversed(self.tape.calls) if c.what is call.what and c.turn == self.steps - 1
        )

    def _is_input(self, tensor: Tensor) -> bool:
        """Whether a tensor is the sample, or the step's part of it."""
        if tensor is self.x:
            return True
        found = self.tape.written_by(tensor)
        if found is None:
            same = tensor.shape == self.x.shape[1:]
            return self.per_step and same and tensor.data_ptr() in self._frames()
        call = found[0]
        if call.path in _NOTHING:
            return self._is_input(call.inputs[0])
        chosen = call.path in ("__getitem__", "unbind", "select", "__iter__", "split", "chunk")
        return self.per_step and chosen and call.inputs[0] is self.x

    def _frames(self) -> set[int]:
        return {self.x[t].data_ptr() for t in range(len(self.x))}

    def _neurons_of(self, call: Call) -> Described | None:
        """What is known of a call of neurons; None for other calls."""
        framework = framework_of(call.what) if isinstance(call.what, nn.Module) else None
        if framework is None:
            return None
        return framework.neurons[type(call.what)](call.path, call.what)

    def _neurons_name(self, call: Call, place: int, found: Described) -> str:
        if place != found.spikes:
            raise ImportRefused(
                f"layer {call.path}: its state goes into another layer, expected its spikes"
            )
        if call.turn == self.steps - 1:
            return self._add_neurons(call, found)
        if call.turn == self.steps - 2:
            return self._carry(call, found)
        raise ImportRefused(
            f"layer {call.path}: its spikes of step {call.turn} are read in step {self.steps - 1}",
            next="a layer reads spikes of the same step or of the one before",
        )

    # Layers

    def _give(self, path: str, fallback: str = "layer") -> str:
        """A name of its own in the network."""
        plain = re.sub("_+", "_", re.sub("[^A-Za-z0-9]", "_", path)).strip("_") or fallback
        base = (plain if not plain[0].isdigit() else f"{fallback}_{plain}")[:_LONGEST]
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}_{number}"
        self._taken.add(name)
        return name

    def _append(self, layer: Layer) -> str:
        self.layers.append(layer)
        return layer.name

    def _add_neurons(self, call: Call, found: Described) -> str:
        """Neurons, with the weights that belong to them."""
        if (call.number, found.spikes) in self._made:
            return self._made[call.number, found.spikes]
        self._check_state(call, found)
        name = self._give(call.path, "lif")
        self._made[call.number, found.spikes] = name
        self.neurons[name] = call.what, found
        source = self.name_of(call.inputs[0], call)
        parts = [source]
        if found.front is not None:
            parts = [self._append(Linear(
                name=self._give(f"{call.path}_in"), inputs=(source,), weight=found.front,
                source=f"{call.path}.input_weights",
            ))]  # fmt: skip
        if found.own is not None:
            parts.append(self._add_own(call, name, found))
        if len(parts) > 1:
            both = self._give(f"{call.path}_all")
            parts = [self._append(Add(name=both, inputs=tuple(parts), source=call.path))]
        return self._append(
            Neurons(name=name, inputs=(parts[0],), source=call.path, rule=found.rule)
        )

    def _add_own(self, call: Call, name: str, found: Described) -> str:
        """Weights on the neurons' own spikes of the step before."""
        shape = _image(tuple(call.outputs[found.spikes].shape[1:]))
        last = self._append(
            Previous(name=self._give(f"{call.path}_last"), of=name, shape=shape, source=call.path)
        )
        own, mine = found.own, self._give(f"{call.path}_own")
        if isinstance(own, nn.Module):
            return self._append(weights(own, mine, last, f"{call.path}.recurrent"))
        assert own is not None
        return self._append(OneToOne(name=mine, inputs=(last,), weight=own, source=call.path))

    def _carry(self, call: Call, found: Described) -> str:
        """The spikes of neurons that this step's layers read before the neurons run."""
        latest = self._latest(call)
        key = call.path
        if key not in self._carried:
            name = self._give(f"{call.path}_last")
            self._carried[key] = name
            of = self._made.get((latest.number, found.spikes)) or self._add_neurons(latest, found)
            shape = _image(tuple(call.outputs[found.spikes].shape[1:]))
            self.layers.append(Previous(name=name, of=of, shape=shape, source=call.path))
        return self._carried[key]

    def _check_state(self, call: Call, found: Described) -> None:
        """Refuse neurons whose state is not that which they left in the step before."""
        if call.turn == 0:
            return
        given = call.inputs[1:]
        for place, tensor in enumerate(given):
            writer = self.tape.written_by(tensor)
            mine = writer is not None and writer[0].what is call.what
            if mine and writer is not None and writer[0].turn == call.turn - 1:
                complete = found.states in (None, len(given))
                if complete and tensor is writer[0].outputs[place - len(given)]:
                    continue
                raise ImportRefused(
                    f"layer {call.path}: its states are given in another order than it returned "
                    "them, or not all of them",
                    "a recurrent layer returns its spikes as a state, too",
                    "give what it returned in the step before, in that order",
                )
            raise ImportRefused(
                f"layer {call.path}: state is reset each call: T = 1",
                "forward() begins with a new state and runs one step",
                "keep the state (init_hidden=True), or give and return it, or loop inside",
            )

    def _add(self, call: Call) -> str:
        if isinstance(call.what, nn.Module):
            return self._add_module(call)
        return self._add_function(call)

    def _add_module(self, call: Call) -> str:
        module = call.what
        if isinstance(module, _PLAIN):
            return self.name_of(call.inputs[0], call)
        if isinstance(module, nn.Flatten):
            return self._add_flatten(call)
        if isinstance(module, _NORMS):
            return self._add_norm(call)
        source = self.name_of(call.inputs[0], call)
        if isinstance(module, _POOLS):
            return self._append(pool(module, self._give(call.path), source, call.path))
        return self._append(weights(module, self._give(call.path), source, call.path))

    def _add_flatten(self, call: Call) -> str:
        source = self.name_of(call.inputs[0], call)
        before, after = call.inputs[0], call.outputs[0]
        if after.shape == before.shape:
            return source
        if after.shape != (len(before), before[0].numel()):
            raise ImportRefused(
                f"{call.path}: {tuple(before.shape)} becomes {tuple(after.shape)}, expected all "
                "but the batch made one axis"
            )
        if before.dim() == 2:
            return source
        return self._append(Flatten(name=self._give(call.path), inputs=(source,)))

    def _add_norm(self, call: Call) -> str:
        """A batch norm, folded into the weights in front of it."""
        before = self._writer(call.inputs[0], call)[0]
        front, norm = before.what, call.what
        if not isinstance(front, nn.Linear | nn.Conv1d | nn.Conv2d):
            raise ImportRefused(
                f"layer {call.path} ({type(norm).__name__}): no layer of weights is in front of it",
                next="put it behind a Linear or a convolution",
            )
        source = self.name_of(before.inputs[0], before)
        made = weights(front, self._give(before.path), source, before.path)
        return self._append(normalised(made, norm))

    def _add_function(self, call: Call) -> str:
        name = call.path
        if name in _NOTHING:
            return self.name_of(call.inputs[0], call)
        if name in _RESHAPES:
            return self._add_flatten(call)
        if name in _ADDS and len(call.inputs) == 2 and not call.keywords:
            sources = tuple(self.name_of(tensor, call) for tensor in call.inputs)
            return self._append(Add(name=self._give("sum_of"), inputs=sources))
        raise ImportRefused(
            f"{name}() between layers is not supported",
            f"on tensors {', '.join(str(tuple(t.shape)) for t in call.inputs)}",
            f"supported are {SUPPORTED}",
        )


def _image(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(C, L) as an image of height 1."""
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _array(values: Tensor | None) -> Array | None:
    return None if values is None else values.detach().double().cpu().numpy()


def _pair(value: Any, one: bool, fill: int) -> tuple[int, int]:
    """Down and right, of a number, a tuple, or what a layer of sequences has."""
    values = value if isinstance(value, tuple | list) else (value,) * (1 if one else 2)
    return (fill, int(values[0])) if one else (int(values[0]), int(values[1]))


def weights(module: nn.Module, name: str, source: str, path: str) -> Linear | Conv2d:
    """A Linear or a convolution."""
    for part, values in module.named_parameters(recurse=False):
        if not bool(torch.isfinite(values).all()):
            raise ImportRefused(
                f"layer {path} ({type(module).__name__}): {part} holds NaN or infinity",
                "the training diverged",
                "train again with a lower learning rate",
            )
    if isinstance(module, SeededLinear):
        outputs, inputs = module.weight.shape
        made = module.seed, module.size, module.fan_out
        return Seeded.of(name, source, (outputs, inputs), *made, path)
    if isinstance(module, nn.Linear):
        weight = _array(module.weight)
        assert weight is not None
        return Linear(
            name=name, inputs=(source,), weight=weight, bias=_array(module.bias), source=path
        )
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise ImportRefused(
            f"layer {path} ({type(module).__name__}): it is not supported here",
            next=f"supported are {SUPPORTED}: {every_class()}",
        )
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise ImportRefused(
            f"layer {path} ({type(module).__name__}): padding {module.padding!r}, mode "
            f"{module.padding_mode}, expected numbers and zeros"
        )
    one = isinstance(module, nn.Conv1d)
    weight = _array(module.weight)
    assert weight is not None
    down, right = _pair(module.padding, one, 0)
    return Conv2d(
        name=name,
        inputs=(source,),
        weight=weight[:, :, None] if one else weight,
        bias=_array(module.bias),
        stride=_pair(module.stride, one, 1),
        dilation=_pair(module.dilation, one, 1),
        padding=(down, right, down, right),
        groups=module.groups,
        source=path,
    )


def activation(module: nn.Module, name: str, source: str, path: str) -> Activation:
    """A Hardtanh around 0 or from 0 on, or a Tanh."""
    if isinstance(module, nn.Tanh):
        return Activation(name=name, inputs=(source,), source=path, function="tanh")
    low, high = float(module.min_val), float(module.max_val)  # type: ignore[arg-type]
    if not (math.isfinite(high) and high > 0 and low in (0, -high)):
        raise ImportRefused(
            f"layer {path} ({type(module).__name__}): {low:g} to {high:g}, expected a range "
            "around 0 or from 0 on"
        )
    kind: Literal["clip", "relu"] = "clip" if low else "relu"
    return Activation(name=name, inputs=(source,), source=path, function=kind, limit=high)


def normalised(layer: Linear | Conv2d, norm: nn.Module) -> Linear | Conv2d:
    """A layer of weights with the batch norm behind it."""
    mean, variance = _array(norm.running_mean), _array(norm.running_var)  # type: ignore[arg-type]
    if mean is None or variance is None:
        raise ImportRefused(
            f"layer {layer.called}: the batch norm behind it keeps no running figures",
            next="use track_running_stats=True",
        )
    gain = 1 / np.sqrt(variance + float(norm.eps))  # type: ignore[arg-type]
    shift = np.zeros_like(gain)
    if norm.weight is not None:
        factor, bias = _array(norm.weight), _array(norm.bias)  # type: ignore[arg-type]
        gain, shift = gain * factor, shift + bias
    before = 0.0 if layer.bias is None else layer.bias
    spread = gain.reshape(-1, *(1,) * (layer.weight.ndim - 1))
    return dataclasses.replace(
        layer, weight=layer.weight * spread, bias=(before - mean) * gain + shift
    )


def pool(module: nn.Module, name: str, source: str, path: str) -> Pool2d:
    """An average or a max pool."""
    one = isinstance(module, nn.AvgPool1d | nn.MaxPool1d)
    most = isinstance(module, nn.MaxPool1d | nn.MaxPool2d)
    if getattr(module, "ceil_mode", False) or getattr(module, "divisor_override", None):
        raise ImportRefused(f"layer {path}: ceil_mode and divisor_override are not supported")
    if most and _pair(module.dilation, one, 1) != (1, 1):
        raise ImportRefused(f"layer {path}: a dilated pool is not supported")
    window = _pair(module.kernel_size, one, 1)
    stride = _pair(module.stride or module.kernel_size, one, 1)
    down, right = _pair(module.padding, one, 0)
    if not most and (down or right) and not getattr(module, "count_include_pad", True):
        raise ImportRefused(f"layer {path}: count_include_pad=False with padding is not supported")
    return Pool2d(
        name=name, inputs=(source,), mode="max" if most else "mean", window=window, stride=stride,
        padding=(down, right, down, right), source=path,
    )  # fmt: skip
