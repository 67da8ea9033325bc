"""What is streamed to a device: the package's test part, or a user's own arrays."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.events import EventStream
from spikelet.graph import Array, Tensor
from spikelet.package import Package
from spikelet.samples import (
    check_finite,
    check_lengths,
    check_names,
    checked_labels,
    checked_truth,
    labels_among,
    load_arrays,
    real_samples,
)
from spikelet.seeds import sample_seeds
from spikelet.text import brief_repr

OUTSIDE = 0.05  # of the values: more of them are scaled otherwise than the training data


@dataclass(frozen=True)
class SampleStream:
    """Samples in the types of the graph.

    Attributes:
        source: where they come from, for the report.
        inputs: by graph input, (N, *shape).
        labels: (N,) int64, or None where there are none.
        targets: of a regression (N, elements of the first output) float32, or None.
        events: of an input of each step, what a device gets in place of the frames; None for
            events that are made of the frames.
        realtime: whether a recording that takes longer than it lasted is an error.
        golden: by graph output, (N, *shape), what golden gave when the package was made; empty for
            a user's own arrays.
    """

    source: str
    inputs: dict[str, Array]
    labels: Array | None
    golden: dict[str, Array] = field(default_factory=dict)
    targets: Array | None = None
    events: tuple[EventStream, ...] | None = None
    realtime: bool = False

    __repr__ = brief_repr

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def sha256(self) -> str:
        """Hash of all samples and labels."""
        total = hashlib.sha256()
        for name, values in sorted(self.inputs.items()):
            total.update(f"{name}{values.shape}{values.dtype}".encode())
            total.update(np.ascontiguousarray(values).tobytes())
        for known in (self.labels, self.targets):
            if known is not None:
                total.update(known.tobytes())
        return total.hexdigest()

    def head(self, limit: int | None) -> SampleStream:
        """The first `limit` samples."""
        if limit is None:
            return self
        if limit < 1:
            raise UsageError(
                f"--limit {limit}: expected at least 1 sample",
                next="leave --limit out to run all samples",
            )
        return self._part(slice(limit))

    def rest(self, first: int) -> SampleStream:
        """The samples from number `first` on."""
        return self._part(slice(first, None))

    def _part(self, part: slice) -> SampleStream:
        labels = None if self.labels is None else self.labels[part]
        targets = None if self.targets is None else self.targets[part]
        inputs = {k: v[part] for k, v in self.inputs.items()}
        golden = {k: v[part] for k, v in self.golden.items()}
        events = None if self.events is None else self.events[part]
        return SampleStream(self.source, inputs, labels, golden, targets, events, self.realtime)


def package_stream(package: Package) -> SampleStream:
    """The test vectors that the package carries."""
    labels, manifest = package.labels, package.manifest
    source = "the package's vectors"
    if "test_part" in manifest:
        source = f"{manifest.get('data', 'data')}, {manifest['test_part']}"
    stored = {name: package.vectors.get(f"golden.{name}") for name in package.graph.outputs}
    golden = {name: values for name, values in stored.items() if values is not None}
    labels = None if labels is None else labels.astype(np.int64)
    return SampleStream(source, package.inputs, labels, golden, package.targets)


def data_stream(package: Package, path: Path, option: str = "--data") -> SampleStream:
    """A user's arrays `x` (N, *shape) and, where known, `y` (N,) from an .npz file.

    Arrays of the input's own integer type are codes; floating-point arrays are real values and are
    quantised with the input's scale and zero point, half away from zero. They must be in range; up
    to one step above the highest code counts as that code. A signed code saturates, as the range
    that a calibration chose leaves rare values out; at most `OUTSIDE` of all values may lie there.
    Where the manifest's `layouts` say how samples look in the model that the package was made from,
    such as (C, H, W), they are taken like that.

    Raises:
        UsageError: the file, a name, a shape, a type or a value is not as expected.
    """
    given = f"{option} {path}"
    arrays = load_arrays(path, given)
    return array_stream(package, arrays, given, str(path), package.graph.highest_prediction)


def array_stream(
    package: Package, arrays: Mapping[str, Array], given: str, source: str, highest: int
) -> SampleStream:
    """Arrays as `data_stream` takes them.

    Args:
        package: whose inputs they are for.
        arrays: by name.
        given: what they are, for errors.
        source: of the stream.
        highest: class.

    Raises:
        UsageError: a name, a shape, a type or a value is not as expected.
    """
    graph = package.graph
    data = [graph.sample_tensor(t) for t in graph.inputs if t.name != "seed"]
    layouts = _layouts(package)
    names = ["x"] if len(data) == 1 else [_given_name(package, t.name, arrays) for t in data]
    check_names(arrays, names, given, ["seed"])
    inputs = {
        t.name: _from_source(given, t, n, arrays[n], layouts[t.name])
        if t.name in layouts
        else _codes(given, t, n, arrays[n])
        for t, n in zip(data, names, strict=True)
    }
    for tensor, name in zip(data, names, strict=True):
        _check_choices(given, tensor, name, inputs[tensor.name])
    samples = len(next(iter(inputs.values())))
    truth = labels_among(arrays, names)
    if truth is not None and highest == graph.highest_prediction:
        truth = checked_truth(truth, given, samples, graph, layouts.get(graph.outputs[0]))
    elif truth is not None:
        truth = checked_labels(truth, given, samples, highest)
    for tensor in graph.inputs:
        if tensor.name == "seed":
            if "seed" in arrays:
                inputs["seed"] = _codes(given, tensor, "seed", arrays["seed"])
            else:
                inputs["seed"] = sample_seeds(int(package.manifest.get("seed", 0)), samples)
    check_lengths(inputs, given)
    real = truth is not None and truth.dtype.kind == "f"
    return SampleStream(source, inputs, None if real else truth, targets=truth if real else None)


def _check_choices(given: str, tensor: Tensor, name: str, codes: Array) -> None:
    """Refuse what an input with choices does not hold, such as a width that is not there."""
    if not tensor.choices:
        return
    wrong = np.setdiff1d(codes, tensor.choices)
    if wrong.size:
        choices = ", ".join(map(str, tensor.choices))
        raise UsageError(
            f"{given}: {name} holds {wrong[0]}, the package has {choices}",
            "a width that the network was not made with",
            "`spikelet inspect` shows the widths of a package",
        )


def _given_name(package: Package, name: str, arrays: Mapping[str, Array]) -> str:
    """What an input is called in the model that the package was made from, or in the graph."""
    sources = package.manifest.get("source_names")
    source = sources.get(name) if isinstance(sources, Mapping) else None
    layout = (package.manifest.get("layouts") or {}).get(name) or {}
    source = layout.get("name", source)
    return source if isinstance(source, str) and (source in arrays or name not in arrays) else name


def _layouts(package: Package) -> dict[str, Any]:
    """How samples look in the source, by graph input; nothing where the manifest does not say."""
    layouts = package.manifest.get("layouts") or {}
    try:
        for t in map(package.graph.sample_tensor, package.graph.inputs):
            if t.name in layouts:
                shape = np.empty((0, *layouts[t.name]["shape"])).transpose(
                    0, *layouts[t.name]["axes"]
                )
                if math.prod(shape.shape[1:]) != t.size or not layouts[t.name]["dtype"]:
                    raise ValueError(t.name)
    except (KeyError, TypeError, ValueError, MemoryError) as e:
        raise UsageError(
            f"package {package.graph.name}: the manifest's layouts do not fit its inputs ({e})",
            "it was not written by this program",
        ) from e
    return dict(layouts)


def _from_source(
    given: str, tensor: Tensor, name: str, values: Array, layout: Mapping[str, Any]
) -> Array:
    """Codes of an array in the shape that samples have in the source; or codes as they are."""
    shape, axes = tuple(layout["shape"]), tuple(layout["axes"])
    if values.dtype == tensor.numpy_dtype and values.shape[1:] == tensor.shape and len(values):
        return _codes(given, tensor, name, values)
    values = real_samples(values, given, name, shape, layout["dtype"])
    laid = values.transpose(0, *axes).reshape(len(values), *tensor.shape)
    if values.dtype.kind in "iu":
        shift = 128 if values.dtype == np.uint8 else 0
        return (laid.astype(np.int16) - shift).astype(np.int8)
    return _quantise(given, tensor, name, laid.astype(np.float64))


def _round_to_codes(values: Array, tensor: Tensor) -> Array:
    """Real values in codes, half away from zero, not limited."""
    scaled = values.astype(np.float64) / tensor.scale
    codes: Array = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled) + tensor.zero_point
    return codes


def _same_order(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a sample has the elements of the wanted shape in its order: flat, or but for ones."""
    actual, plain = (tuple(n for n in s if n != 1) for s in (shape, wanted))
    same = actual == plain or len(actual) < 2 or len(plain) < 2
    return same and math.prod(shape) == math.prod(wanted)


def _codes(given: str, tensor: Tensor, name: str, values: Array) -> Array:
    expected = f"(N, {', '.join(map(str, tensor.shape))})"
    if values.ndim >= 1 and _same_order(values.shape[1:], tensor.shape):
        values = values.reshape(len(values), *tensor.shape)
    if values.ndim != 1 + len(tensor.shape) or values.shape[1:] != tensor.shape or not len(values):
        raise UsageError(
            f"{given}: {name} has shape {values.shape}, the model's input "
            f"{tensor.name} expects {expected} with N of at least 1",
            "samples of another model, channels at the other end, or a missing axis for samples",
            f"bring {name} to that shape; its first axis counts samples",
        )
    if values.dtype == tensor.numpy_dtype:
        if tensor.dtype == "bit" and values.max() > 1:
            raise UsageError(
                f"{given}: {name} holds {values.max()}, a spike is 0 or 1",
                next=f"({name} > 0).astype(np.uint8) makes spikes of it",
            )
        return np.ascontiguousarray(values)
    real = np.issubdtype(values.dtype, np.floating) and tensor.name != "seed"
    if not real:
        raise UsageError(
            f"{given}: {name} is {values.dtype}, the model's input {tensor.name} is "
            f"{tensor.numpy_dtype}",
            "codes saved in another type",
            f"{name}.astype(np.{tensor.numpy_dtype}) for codes"
            + ("" if tensor.name == "seed" else ", or real values as float32"),
        )
    check_finite(values, given, name)
    return _quantise(given, tensor, name, values.astype(np.float64))


def _quantise(given: str, tensor: Tensor, name: str, values: Array) -> Array:
    """Codes of real values, half away from zero; the end of the last step is its last code."""
    low, high = tensor.limits
    scaled = values / tensor.scale
    codes = _round_to_codes(values, tensor)
    # 1.0 on an input of 256 steps of 1/256: not a code, and what x / x.max() gives.
    top = (high + 1 - tensor.zero_point) * (1 + 1e-9)
    outside = (codes < low) | ((codes > high) & (scaled > top))
    if np.mean(outside) > (OUTSIDE if tensor.dtype == "i8" else 0):
        ends = [(limit - tensor.zero_point) * tensor.scale for limit in (low, high)]
        raise UsageError(
            f"{given}: {name} spans {values.min():g} to {values.max():g}, the model's input "
            f"{tensor.name} spans {ends[0]:g} to {ends[1]:g}",
            f"{name} is scaled otherwise than the training data",
            _factor(name, values, ends),
        )
    clipped: Array = np.clip(codes, low, high).astype(tensor.numpy_dtype)
    return clipped


def _factor(name: str, values: Array, ends: list[float]) -> str:
    """What to multiply with, so that the values fit."""
    lowest, highest = float(values.min()), float(values.max())
    factors = []
    if highest > 0:
        factors.append(ends[1] / highest)
    if lowest < 0:
        factors.append(ends[0] / lowest)
    factor = 0.9995 * min(factors, default=0.0)  # four digits, rounded, are no larger
    if factor <= 0:
        return f"scale and shift {name} as in training, or clip it"
    return f"scale {name} as in training, or clip it; {name} * {factor:.4g} would fit"
