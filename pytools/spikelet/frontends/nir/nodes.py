"""One node of NIR as one layer of a spiking network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from spikelet.frontends.nir.convention import (
    Convention,
    metadata,
    told_array,
    told_number,
)
from spikelet.frontends.nir.file import FileNode
from spikelet.frontends.spiking.network import (
    Conv2d,
    Delay,
    Flatten,
    Layer,
    Linear,
    Margins,
    Neurons,
    OneToOne,
    Pool2d,
    Rule,
)
from spikelet.graph import Array

MOST_ELEMENTS = 1 << 22  # of an activation
MOST_REFRACTORY = 1 << 15
MOST_DELAY = 255  # steps
_WHOLE = 1e-6  # of a step: float32 seconds
# What our metadata may differ from NIR's own time constants: a few roundings.
_ROUNDING = 1e-9
Named = dict[str, str]  # what every layer is given: its name and source


def shape_of(node: FileNode) -> tuple[int, ...]:
    """Of an Input: (n,) or (C, H, W); a sequence (C, L) is an image of height 1."""
    shape = tuple(int(v) for v in node.real("shape").reshape(-1))
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or math.prod(shape) > MOST_ELEMENTS:
        hint = "without the batch: snnTorch exports that with ignore_dims=[0]"
        raise node.refuse(f"shape {shape}", f"(n,), (C, L) or (C, H, W), {hint}")
    return (shape[0], 1, shape[1]) if len(shape) == 2 else shape


def _linear(node: FileNode, named: Named) -> Layer:
    weight = node.real("weight")
    if weight.ndim != 2:
        raise node.refuse(f"weight of shape {weight.shape}", "(outputs, inputs)")
    bias = _bias(node, len(weight)) if node.kind == "Affine" else None
    if bias is None and weight.shape[0] == weight.shape[1] > 1 and _is_diagonal(weight):
        return OneToOne(**_named(node, named), weight=np.diag(weight).copy())
    return Linear(**_named(node, named), weight=weight, bias=bias)


def _is_diagonal(weight: Array) -> bool:
    return bool(np.count_nonzero(weight) == np.count_nonzero(np.diag(weight)))


def _scale(node: FileNode, named: Named) -> Layer:
    return OneToOne(**_named(node, named), weight=node.real("scale").reshape(-1))


def _conv(node: FileNode, named: Named) -> Layer:
    axes = 1 if node.kind == "Conv1d" else 2
    weight = node.real("weight")
    if weight.ndim != axes + 2 or not weight.size:
        raise node.refuse(f"weight of shape {weight.shape}", "(outputs, inputs / groups, kernel)")
    if axes == 1:
        weight = weight[:, :, None]
    stride, dilation = (_two(node, name, axes, 1) for name in ("stride", "dilation"))
    (groups,) = node.whole("groups", 1)
    if groups < 1 or len(weight) % groups:
        raise node.refuse(f"groups {groups} of {len(weight)} channels")
    return Conv2d(
        **_named(node, named),
        weight=weight,
        bias=_bias(node, len(weight)),
        stride=stride,
        dilation=dilation,
        padding=_padding(node, axes, weight.shape[2:], stride, dilation),
        groups=groups,
    )


def _bias(node: FileNode, count: int) -> Array | None:
    """None where all are 0, which NIR writes where there is none."""
    bias = node.real("bias").reshape(-1)
    if bias.size != count:
        raise node.refuse(f"bias of {bias.size} elements", f"{count}, one an output")
    return bias if bias.any() else None


def _two(node: FileNode, name: str, axes: int, least: int) -> tuple[int, int]:
    """A number down and one to the right; of a sequence 1, or 0, down."""
    values = node.whole(name, axes)
    if min(values) < least:
        raise node.refuse(f"{name} {values}", f"{least} or more")
    return (values[0], values[1]) if axes == 2 else (least, values[0])


def _padding(
    node: FileNode,
    axes: int,
    kernel: tuple[int, ...],
    stride: tuple[int, int],
    dilation: tuple[int, int],
) -> Margins:
    text = node.fields["padding"]
    if not isinstance(text, str):
        down, along = _two(node, "padding", axes, 0)
        return (down, along, down, along)
    if text == "valid":
        return (0, 0, 0, 0)
    if text != "same" or stride != (1, 1):
        raise node.refuse(f"padding {text!r:.20} with stride {stride}", "numbers, valid, or same")
    down, along = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return (down // 2, along // 2, down - down // 2, along - along // 2)


def _pool(node: FileNode, named: Named) -> Layer:
    window, stride = (_two(node, name, 2, 1) for name in ("kernel_size", "stride"))
    down, along = _two(node, "padding", 2, 0)
    mode = "sum" if node.kind == "SumPool2d" else "mean"
    return Pool2d(
        **_named(node, named),
        mode=mode,  # type: ignore[arg-type]
        window=window,
        stride=stride,
        padding=(down, along, down, along),
    )


def _flatten(node: FileNode, named: Named) -> Layer:
    (start,), (end,) = node.whole("start_dim", 1), node.whole("end_dim", 1)
    given = node.fields.get("input_type")
    axes = node.real("input_type").size if given is not None else None
    if start not in (0, -(axes or 0) or 0) or end not in (-1, 2 if axes is None else axes - 1):
        raise node.refuse(f"start_dim {start}, end_dim {end}", "all axes: 0 and -1")
    return Flatten(**_named(node, named))


def _named(node: FileNode, named: Named) -> dict[str, Any]:
    return {"name": named["name"], "source": node.path, "inputs": (named["input"],)}


PLAIN: dict[str, Callable[[FileNode, Named], Layer]] = {
    "Linear": _linear,
    "Affine": _linear,
    "Scale": _scale,
    "Conv1d": _conv,
    "Conv2d": _conv,
    "SumPool2d": _pool,
    "AvgPool2d": _pool,
    "Flatten": _flatten,
}


def delay(node: FileNode, named: Named, shape: tuple[int, ...], convention: Convention) -> Delay:
    """A Delay, whose times in seconds are whole numbers of steps."""
    convention.need(node, "dt")
    dt = convention.dt or 0.0
    seconds = node.real("delay").reshape(-1)
    if seconds.size not in (1, math.prod(shape)):
        raise node.refuse(f"{seconds.size} delays of {math.prod(shape)} elements")
    steps = seconds / dt
    whole = np.round(steps)
    wrong = (np.abs(steps - whole) > _WHOLE * np.maximum(whole, 1)) | (whole < 0)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise node.refuse(
            f"delay of element {index} is {seconds[index]:g} s, {steps[index]:g} steps of {dt:g} s",
            "delays that are whole numbers of steps: another --dt, or round them",
        )
    if whole.max() > MOST_DELAY:
        raise node.refuse(f"a delay of {whole.max():g} steps", f"at most {MOST_DELAY}")
    return Delay(**_named(node, named), steps=few(whole.astype(np.int64)))


def neurons(
    node: FileNode, named: Named, shape: tuple[int, ...], convention: Convention
) -> Neurons:
    """Neurons of (*shape), with a rule of steps; raises ImportRefused."""
    rule = _NeuronNode(node, shape, convention.with_file(node)).rule()
    return Neurons(name=named["name"], inputs=(named["input"],), source=node.path, rule=rule)


class _NeuronNode:
    """A node of neurons on its way to a rule."""

    def __init__(self, node: FileNode, shape: tuple[int, ...], convention: Convention) -> None:
        self.node, self.shape, self.convention = node, shape, convention

    def rule(self) -> Rule:
        node, convention = self.node, self.convention
        if node.kind == "Threshold":
            convention.need(node, "compare")
            threshold = few(self._each("threshold"))
            return Rule(
                kept=np.zeros(1), threshold=threshold, reset="none", **self._chosen("compare")
            )
        spiking = "v_threshold" in node.fields
        convention.need(node, "dt", *(("reset", "timing", "compare") if spiking else ()))
        dt, jumps = convention.dt or 0.0, convention.input == "jump"
        made: dict[str, Any] = {}
        if node.kind in ("IF", "I"):
            made = {"kept": np.ones(1), "gain": self._positive("r") * (1 if jumps else dt)}
        else:
            share = self._share("tau" if "tau" in node.fields else "tau_mem", dt)
            made["kept"], made["gain"] = 1 - share, share * self._positive("r")
            made["drift"] = share * self._each("v_leak")
            if "tau_syn" in node.fields:
                synapse = self._share("tau_syn", dt)
                made["kept_current"] = 1 - synapse
                weight = self._positive("w_in") if "w_in" in node.fields else np.ones(1)
                made["gain"] = made["gain"] * weight * (1 if jumps else synapse)
        made = {name: few(self._as_written(name, values)) for name, values in made.items()}
        if not spiking:
            return Rule(**made, threshold=None, initial=self._initial(None))
        return self._firing(made)

    def _firing(self, made: dict[str, Any]) -> Rule:
        node, convention = self.node, self.convention
        reset = convention.reset
        value = self._each("v_reset") if "v_reset" in node.fields else np.zeros(1)
        if reset in ("zero", "subtract") and value.any():
            raise node.refuse(
                f"its v_reset is {value.reshape(-1)[np.flatnonzero(value)[0]]:g}, and reset "
                f"{reset} does not use it",
                "reset value takes it",
            )
        initial = self._initial(value)
        reset = "zero" if reset == "value" and not value.any() else reset
        told = metadata(node)
        refractory = told_number(node, "refractory") if "refractory" in told else 0.0
        if refractory != int(refractory) or not 0 <= refractory <= MOST_REFRACTORY:
            raise node.refuse(f"its metadata: refractory {refractory:g}")
        return Rule(
            **made,
            threshold=few(self._each("v_threshold")),
            **self._chosen("compare", *(() if reset == "none" else ("timing",))),
            reset=reset,  # type: ignore[arg-type]
            value=few(value) if reset == "value" else np.zeros(1),
            refractory=int(refractory),
            initial=initial,
        )

    def _chosen(self, *names: str) -> dict[str, Any]:
        """Fields of a rule that have the convention's names and values."""
        return {name: getattr(self.convention, name) for name in names}

    def _each(self, name: str) -> Array:
        """A parameter: one value, or one a neuron."""
        values = self.node.real(name)
        if values.size == 1:
            return values.reshape(1)
        shape = self.shape
        given = values.shape
        if len(given) == 2 and len(shape) == 3 and shape[1] == 1:  # a sequence
            given = (given[0], 1, given[1])
        if len(given) != len(shape) or any(
            n not in (1, m) for n, m in zip(given, shape, strict=True)
        ):
            raise self.node.refuse(f"{name} of shape {values.shape} for neurons {shape}")
        return np.broadcast_to(values.reshape(given), shape).reshape(-1).copy()

    def _positive(self, name: str) -> Array:
        values = self._each(name)
        if (values <= 0).any():
            index = int(np.flatnonzero(values <= 0)[0])
            raise self.node.refuse(f"{name} is {values[index]:g} in neuron {index}", "above 0")
        return values

    def _share(self, name: str, dt: float) -> Array:
        """dt / tau: the part that a step loses, 0 to 1."""
        node, raw = self.node, self.node.fields[name]
        if not isinstance(raw, str) and np.isposinf(np.asarray(raw, np.float64)).any():
            raise node.refuse(
                f"{name} is infinite: a decay of 1, which snnTorch exports so",
                "an IF node for neurons without a leak, or a decay below 1",
            )
        tau = self._positive(name)
        share: Array = dt / tau
        if (share > 1 + _ROUNDING).any():
            index = int(np.argmax(share))
            raise node.refuse(
                f"{name} of neuron {index} is {tau[index]:g} s, shorter than a step of {dt:g} s",
                f"a dt of at most {tau.min():g} s. Norse 1.1 writes dt / tau_inv for 1 / tau_inv: "
                "its files want the square of its dt, 1e-6 for 1e-3",
            )
        return np.minimum(share, 1.0)

    def _as_written(self, name: str, values: Array) -> Array:
        """Factors as Spikelet wrote them, where it did, without the rounding of dt / tau."""
        told = told_array(self.node, name)
        if told is None:
            return values
        if told.size not in (1, values.size, math.prod(self.shape)) or not np.allclose(
            told, values if told.size > 1 else np.unique(values), rtol=_ROUNDING, atol=_ROUNDING
        ):
            raise self.node.refuse(
                f"its metadata: {name} is not what its time constants say",
                "the file was changed after Spikelet wrote it: take its metadata out",
            )
        return told

    def _initial(self, value: Array | None) -> float:
        """The membrane before the first step."""
        node, convention = self.node, self.convention
        if "initial_membrane" in metadata(node):
            return told_number(node, "initial_membrane")
        leak = self._each("v_leak") if "v_leak" in node.fields else np.zeros(1)
        begins = {"reset": value if value is not None else leak, "leak": leak}
        if not any(v.any() for v in begins.values()):
            return 0.0
        convention.need(node, "initial")
        chosen = convention.initial
        begin = begins.get(str(chosen), np.zeros(1))
        if (begin != begin[0]).any():
            raise node.refuse(f"its neurons begin at different v_{chosen}s", "one value for all")
        return float(begin[0])


def few(values: Array) -> Array:
    """One value where all are the same."""
    return values[:1] if (values == values[0]).all() else values
