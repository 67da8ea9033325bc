"""Samples and labels that a user gives: read and checked in one way, whatever the command.

Arrays are named after the model's inputs, `x` where there is one. Labels are `y`; where an input
has that name, and anywhere else too, they may be `y.labels`; where that is an input as well, they
are `y.labels.labels`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.errors import UsageError
from spikelet.files import Unreadable, read_arrays
from spikelet.graph import Array, Graph

LABELS = "y.labels"


@dataclass(frozen=True)
class GivenArrays:
    """Arrays by name, and what they are called.

    Attributes:
        arrays: by name.
        given: in errors.
        source: in the manifest.
    """

    arrays: dict[str, Array]
    given: str
    source: str

    @classmethod
    def of_file(cls, path: Path, option: str) -> GivenArrays:
        """Of an .npz file that an option or an argument names; raises UsageError."""
        given = f"{option} {path}"
        return cls(load_arrays(path, given), given, path.name)

    @classmethod
    def of_values(cls, values: Any, labels: Any, given: str) -> GivenArrays:
        """Of an array, or of several by name, and its labels where they are known."""
        named = values if isinstance(values, Mapping) else {"x": values}
        arrays = {str(key): plain_array(value) for key, value in named.items()}
        if labels is not None:
            arrays[labels_key(arrays)] = plain_array(labels)
        return cls(arrays, given, given)


def plain_array(values: Any) -> Array:
    """An array of what may be a tensor of PyTorch, on any device, or nested lists."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values)


def labels_key(inputs: Iterable[str]) -> str:
    """The key under which labels are written beside arrays for these inputs."""
    key, taken = "y", set(inputs)
    while key in taken:
        key += ".labels"
    return key


def labels_keys(inputs: Iterable[str]) -> tuple[str, ...]:
    """The keys under which labels are found beside arrays for these inputs, the first wins."""
    taken = set(inputs)
    return tuple(key for key in dict.fromkeys((LABELS, labels_key(taken))) if key not in taken)


def labels_among(arrays: Mapping[str, Array], inputs: Iterable[str]) -> Array | None:
    """The array that holds labels or targets, of one axis or more; None where there are none."""
    keys = (key for key in labels_keys(inputs) if key in arrays)
    return next((np.atleast_1d(arrays[key]) for key in keys), None)


def load_arrays(path: Path, given: str) -> dict[str, Array]:
    """The arrays of a user's .npz file, called `given` in errors; raises UsageError."""
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "no such file"
        raise UsageError(f"{given}: {what}", "a wrong path", "give an .npz file")
    try:
        return read_arrays(path)
    except Unreadable as e:
        raise UsageError(
            f"{given}: not a readable .npz file ({e})",
            "it is truncated, of another format, too large, or holds Python objects",
            "save it with np.savez('data.npz', x=x, y=y)",
        ) from e


def check_names(
    arrays: Mapping[str, Array], names: list[str], given: str, optional: Iterable[str] = ()
) -> None:
    """Refuse arrays that are missing, or that are for no input.

    Args:
        arrays: by name.
        names: of the inputs, as the user gives them.
        given: where the arrays come from.
        optional: further names that may be there.
    """
    unknown = set(arrays) - {*names, *labels_keys(names), *optional}
    if unknown or set(names) - set(arrays):
        key = labels_key(names)
        shown = ", ".join(f"{name}=..." for name in names)
        labels = "y=labels" if key == "y" else f"**{{{key!r}: labels}}"
        raise UsageError(
            f"{given}: arrays {sorted(arrays)}, expected {', '.join(names)} and optionally {key}",
            "the file was saved with other names",
            f"np.savez('data.npz', {shown}, {labels})",
        )


def check_lengths(arrays: Mapping[str, Array], given: str) -> None:
    """Refuse arrays of different numbers of samples."""
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(
            f"{given}: arrays of different length: {lengths}",
            "inputs of different samples",
            "the first axis of every array counts the same samples",
        )


def real_samples(
    values: Array, given: str, name: str, shape: tuple[int, ...], dtype: str = ""
) -> Array:
    """Samples (N, *shape) of an input of real numbers.

    Args:
        values: floating-point numbers, which become float32; or integers of `dtype`, as they are.
        given: where they come from.
        name: of the array.
        shape: of a sample.
        dtype: int8 or uint8 where the input holds integers itself.

    Raises:
        UsageError: another type (complex numbers, integers, texts), another shape, or what is no
            finite number.
    """
    integer = values.dtype.name == dtype and dtype in ("int8", "uint8")
    if values.shape[1:] != shape or not len(values):
        raise UsageError(
            f"{given}: {name} has shape {values.shape}, expected (N, "
            f"{', '.join(map(str, shape))}) with N of at least 1",
            "samples of another model, channels at the other end, or a missing axis for samples",
            f"bring {name} to the shape that the model has been trained with",
        )
    if values.dtype.kind != "f" and not integer:
        cause, remedy = "images or codes that are not scaled as in training", (
            f"scale them as in training; {name}.astype(np.float32) where they are"
        )  # fmt: skip
        if values.dtype.kind == "c":
            cause = "a Fourier transform: its imaginary part would be lost"
            remedy = f"np.abs({name}), or real and imaginary parts as two channels"
        wanted = f"{dtype} or float" if dtype in ("int8", "uint8") else "float"
        raise UsageError(
            f"{given}: {name} is {values.dtype} of shape {values.shape}, expected {wanted}",
            cause,
            remedy,
        )
    if integer:
        return values
    with np.errstate(over="ignore"):  # of float64 beyond float32
        reals = values.astype(np.float32)
    check_finite(reals, given, name)
    return reals


def check_finite(values: Array, given: str, name: str) -> None:
    """Refuse NaN and infinity."""
    if not np.isfinite(values).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise UsageError(
            f"{given}: {name} holds NaN or infinity: {name}{list(where)} is {values[where]}, "
            "no finite number",
            "missing or overflowed measurements",
            "remove or fill these samples",
        )


def checked_truth(
    values: Array,
    given: str,
    samples: int,
    graph: Graph,
    layout: Mapping[str, Any] | None = None,
) -> Array:
    """What samples are known to be: classes, int64 (N,); or targets, float32 (N, elements).

    Real numbers in the shape of the first output are targets, in the order of the graph's output;
    where the first output is one real number, integers are, too.

    Args:
        values: as they were given.
        given: where they come from.
        samples: N.
        graph: what predicts them.
        layout: how the first output looks in the source, as a manifest says it.

    Raises:
        UsageError: neither of them.
    """
    first = graph.tensors[graph.outputs[0]]
    shape = tuple(layout["shape"]) if layout else first.shape
    real = values.dtype.kind == "f" and first.size > 1 and values.shape[1:] == shape
    if graph.names_classes and (not real or _is_one_hot(values)):
        return checked_labels(values, given, samples, graph.highest_prediction)
    if values.dtype.kind not in "iufb" or math.prod(values.shape[1:]) != first.size:
        raise UsageError(
            f"{given}: targets are {values.dtype} of shape {values.shape}, expected numbers "
            f"({', '.join(map(str, (samples, *shape)))})",
            "the first output is a regression's",
            "give what it should be, in its unit",
        )
    if len(values) != samples:
        raise UsageError(
            f"{given}: {len(values)} targets for {samples} samples",
            "targets and samples of different parts of the data",
            "one target a sample",
        )
    targets = values.astype(np.float32).reshape(samples, *shape)
    check_finite(targets, given, "y")
    if layout:
        targets = targets.transpose(0, *layout["axes"])
    return np.ascontiguousarray(targets).reshape(samples, first.size)


def _is_one_hot(values: Array) -> bool:
    flat = values.reshape(len(values), -1)
    return bool(((flat == 0) | (flat == 1)).all() and (flat.sum(axis=1) == 1).all())


def checked_labels(labels: Array, given: str, samples: int, highest: int) -> Array:
    """Labels (N,) or (N, 1) as int64 (N,).

    Args:
        labels: as they were given.
        given: where they come from.
        samples: N.
        highest: class that the model can name.

    Raises:
        UsageError: no integers, another number of them, or one that is no class of the model.
    """
    if labels.ndim < 1 or labels.shape[1:] not in ((), (1,)) or labels.dtype.kind not in "iu":
        raise UsageError(
            f"{given}: labels are {labels.dtype} of shape {labels.shape}, expected integers "
            f"({samples},)",
            "one-hot labels, or targets of a regression in another shape than the output's",
            "one integer class a sample; of a regression, one real number for each output",
        )
    if len(labels) != samples:
        raise UsageError(
            f"{given}: labels holds {len(labels)} values for {samples} samples: y is "
            f"{labels.dtype} of shape {labels.shape}, expected integers ({samples},)",
            "labels and samples of different parts of the data",
            "one integer class a sample",
        )
    if labels.min() < 0:
        first = int(np.flatnonzero(labels.reshape(-1) < 0)[0])
        raise UsageError(
            f"{given}: label {labels.flat[first]} of sample {first} is negative",
            "labels that mark samples of no class",
            "number the classes from 0, and leave out samples without a class",
        )
    if labels.max() > highest:
        raise UsageError(
            f"{given}: y spans {labels.min()} to {labels.max()}, the model knows classes "
            f"0 to {highest}",
            "labels that start at 1, or of another data set",
            "number the classes from 0, as in training",
        )
    return labels.reshape(-1).astype(np.int64)
