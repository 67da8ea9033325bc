"""Real numbers in, real numbers out: a package's samples and results in the units of its source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spikelet.errors import UsageError
from spikelet.graph import Array, Tensor
from spikelet.graph.declared import quote_name
from spikelet.package import Package
from spikelet.samples import labels_key, plain_array
from spikelet.streams import SampleStream, array_stream
from spikelet.text import brief_repr, words

MOST_LABELS = 32766  # a learner's classes are counted by 15 bits

# Samples: an array or a tensor of PyTorch (N, *shape), or several by input.
Given = npt.ArrayLike | Mapping[str, npt.ArrayLike]


@dataclass(frozen=True, repr=False)
class Prediction:
    """What a model makes of N samples.

    Attributes:
        outputs: by name, (N, *shape) as in the source: float32 real values; labels and spike
            counts as integers.
        label: (N,) the class of each sample, by name where the package has `class_names`, else
            int64: the first output, or where its largest element lies. None of a regression: the
            first output is one real number, or the package's vectors hold targets.
    """

    outputs: dict[str, Array]
    label: Array | None

    __repr__ = brief_repr

    def __len__(self) -> int:
        return len(next(iter(self.outputs.values())))


def given_arrays(package: Package, x: Given) -> dict[str, Array]:
    """Arrays by the names that `array_stream` knows.

    Args:
        package: whose inputs they are for.
        x: arrays by input, or the one array of a model with one input.
    """
    if isinstance(x, Mapping):
        return {str(name): plain_array(values) for name, values in x.items()}
    names = [t.name for t in package.graph.inputs if t.name != "seed"]
    return {"x" if len(names) == 1 else names[0]: plain_array(x)}


def samples_of(
    package: Package, x: Given, labels: npt.ArrayLike | None = None, highest: int | None = None
) -> SampleStream:
    """Samples in the graph's types.

    Args:
        package: whose inputs they are for.
        x: (N, *shape) real values, or codes in the input's own type; by input where there are
            several.
        labels: (N,) integers, or names of classes; None where they are not known.
        highest: class that a label may be; by default the highest that the model predicts.

    Raises:
        UsageError: a name, a shape, a type or a value is not as expected.
    """
    arrays = given_arrays(package, x)
    if labels is not None:
        arrays[labels_key(name for name in arrays if name != "seed")] = class_numbers(
            package, plain_array(labels)
        )
    if highest is None:
        highest = package.graph.highest_prediction
    return array_stream(package, arrays, "x", "arrays", highest)


def labelled(package: Package, x: Given, labels: npt.ArrayLike | None) -> SampleStream:
    """Samples for a learner, which may know more classes than the package; see `samples_of`."""
    return samples_of(package, x, labels, MOST_LABELS)


def checked_class_names(package: Package, names: Sequence[str]) -> list[str]:
    """Names of all classes of a package, each another one.

    Raises:
        UsageError: too few, too many, or one twice.
    """
    wanted = package.graph.highest_prediction + 1
    if len(names) != wanted:
        raise UsageError(
            f"{len(names)} names, and the model knows classes 0 to {wanted - 1}",
            next="give one name a class, in the order of their numbers",
        )
    said = [words(str(name)) for name in names]
    for name, count in Counter(said).items():
        if count > 1:
            raise UsageError(
                f"{count} classes are called {quote_name(name)}",
                "labels may be given by name, and each must mean one class",
                "give every class a name of its own",
            )
    return said


def class_numbers(package: Package, labels: Array) -> Array:
    """Labels as integers, from names of the package's classes or as they are."""
    names = package.manifest.get("class_names")
    if names is None or labels.dtype.kind != "U":
        return labels
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(str(name), -1) for name in labels.ravel()], np.int64)


def called(manifest: Mapping[str, Any], labels: Array) -> Array:
    """Numbers of classes as their names; a class without one, as of a learner, keeps its number.

    Args:
        manifest: of the package; without `class_names` the numbers stay.
        labels: (N,) integers.
    """
    names = manifest.get("class_names")
    if names is None:
        return labels
    return np.array([names[n] if 0 <= n < len(names) else str(n) for n in labels], str)


def prediction(package: Package, outputs: Mapping[str, Array]) -> Prediction:
    """What a model's outputs mean.

    Args:
        package: the model.
        outputs: by name, (N, *shape), in the graph's types.
    """
    graph = package.graph
    first = graph.tensors[graph.outputs[0]]
    label: Array | None = None
    if package.names_classes:
        label = graph.predicted(outputs[first.name])
        label = called(package.manifest, label)
    return Prediction({n: _real(package, graph.tensors[n], v) for n, v in outputs.items()}, label)


def golden_prediction(package: Package, stream: SampleStream) -> Prediction:
    """What golden makes of samples."""
    graph = package.graph
    parts = [
        graph.run({name: values[part] for name, values in stream.inputs.items()}).outputs
        for part in graph.parts(len(stream))
    ]
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return prediction(package, whole)


def golden_layers(package: Package, stream: SampleStream) -> dict[str, Array]:
    """What every operator writes, in every step, in real values."""
    trace = package.graph.run(stream.inputs, trace=True).trace
    return {name: real_values(package.graph.tensors[name], v) for name, v in trace.items()}


def real_values(tensor: Tensor, values: Array) -> Array:
    """What codes of a tensor stand for, float32; counts and labels stay integers."""
    if tensor.is_count:
        return values
    return tensor.real(values).astype(np.float32)


def _real(package: Package, tensor: Tensor, values: Array) -> Array:
    """Of an output, in the source's order of axes."""
    unit = (package.manifest.get("units") or {}).get(tensor.name)
    if unit is not None:
        return (values * np.float64(unit)).astype(np.float32)
    reals, layout = real_values(tensor, values), (package.manifest.get("layouts") or {})
    if (layout := layout.get(tensor.name)) is None:
        return reals
    shape, axes = layout["shape"], layout["axes"]
    laid = [shape[axis - 1] for axis in axes]
    back = np.argsort(axes) + 1
    return reals.reshape(len(reals), *laid).transpose(0, *(int(axis) for axis in back))
