"""Samples to learn and samples to evaluate: of a data set, of a user's file, or of the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.learn.continual.streams import Pool
from spikelet.package import Package
from spikelet.samples import load_arrays
from spikelet.seeds import sample_seeds
from spikelet.streams import SampleStream, array_stream

MOST_CLASSES = 32767  # of a graph

HELD_OUT = 4  # every fourth sample of a file without a test part is evaluated


@dataclass(frozen=True)
class LearningData:
    """What a stream is made of.

    Attributes:
        source: in words.
        train: is learned.
        test: is evaluated, never learned.
        classes: labels are 0 to classes - 1.
        known: classes that the package was trained on, where its manifest says.
    """

    source: str
    train: Pool
    test: Pool
    classes: int
    known: tuple[int, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of all samples and labels, both parts."""
        total = hashlib.sha256()
        for pool in (self.train, self.test):
            total.update("".join(pool.hashes()).encode() + b"\0" + pool.labels.tobytes())
        return total.hexdigest()


def learning_data(
    package: Package, given: str | None, classes: int | None = None, option: str = "--data"
) -> LearningData:
    """The samples that `given` names.

    Args:
        package: whose inputs they are for.
        given: an .npz file with x and y and, where the parts are fixed, x_test and y_test; the name
            of a data set, or `validation` for a fifth of the training part of the package's own in
            place of its test part; None for the package's own, or else its vectors.
        classes: to learn; None for as many as the samples have.
        option: that gave it, for errors.

    Raises:
        UsageError: the samples are not there, do not fit, or hold a label that is out of range.
    """
    from spikelet.train.data import DATA_SETS, DataError

    name = package.manifest.get("data")
    known = _known_classes(package)
    if given is not None and given != "validation" and given not in DATA_SETS:
        if not Path(given).suffix and not Path(given).exists():
            raise UsageError(
                f"{option} {given}: no such file, and no data set of that name",
                "a misspelt name",
                f"give an .npz file, validation, or one of {', '.join(sorted(DATA_SETS))}",
            )
        source, train, test = _of_file(package, Path(given), f"{option} {given}")
    elif given is not None:
        if given == "validation" and name not in DATA_SETS:
            raise UsageError(
                f"{option} validation: the package does not say which data set it is of",
                "it was not made of a recipe",
                "give an .npz file, or the name of a data set",
            )
        source, train, test = _of_set(package, str(name) if given == "validation" else given,
                                      given == "validation")  # fmt: skip
    else:
        try:
            source, train, test = _of_set(package, str(name), False)
        except DataError as e:
            source, train, test = _of_vectors(package, e)
    return _checked(source, train, test, classes, known)


def sample_data(package: Package, samples: SampleStream, classes: int | None) -> LearningData:
    """Samples that are given: every fourth of a class is evaluated, the others are learned.

    Args:
        package: whose inputs they are for.
        samples: with labels.
        classes: to learn; None for as many as the samples have.
    """
    source = f"{samples.source}, every {HELD_OUT}th sample of a class evaluated"
    pool = _labelled(package, samples)
    return _checked(source, *_split(pool, "x"), classes, _known_classes(package))


def _checked(
    source: str, train: Pool, test: Pool, classes: int | None, known: tuple[int, ...]
) -> LearningData:
    """The data, whose labels are within the classes."""
    class_count = 1 + int(max(train.labels.max(), test.labels.max()))
    count = max(class_count, len(known)) if classes is None else classes
    for part, pool in (("training", train), ("test", test)):
        wrong = np.flatnonzero(pool.labels >= count)
        if len(wrong):
            raise UsageError(
                f"label {pool.labels[wrong[0]]} of {part} sample {wrong[0]} is not within "
                f"0..{count - 1}",
                f"--classes {count} is fewer than the data has ({class_count})",
                f"--classes {class_count}, or leave it out",
            )
    return LearningData(source, train, test, count, known)


def stream_data(
    package: Package, samples: SampleStream, classes: int | None = None
) -> LearningData:
    """Samples that a learner is to learn first, as what calibrates it.

    Args:
        package: whose inputs they are for.
        samples: with labels.
        classes: to learn in all; None for as many as the samples have.
    """
    pool, known = _labelled(package, samples), _known_classes(package)
    count = max(1 + int(pool.labels.max()), len(known)) if classes is None else classes
    return LearningData(samples.source, pool, pool, count, known)


def _labelled(package: Package, samples: SampleStream) -> Pool:
    if samples.labels is None:
        raise UsageError(
            f"{samples.source}: no labels",
            "a learner is told the class of each sample",
            "give y, one integer class a sample",
        )
    return _pool(package, samples.inputs, samples.labels)


def _known_classes(package: Package) -> tuple[int, ...]:
    recipe = package.manifest.get("recipe")
    section = recipe.get("data") if isinstance(recipe, dict) else None
    count = section.get("classes") if isinstance(section, dict) else None
    return tuple(range(count)) if type(count) is int and 0 < count <= MOST_CLASSES else ()


def _of_set(package: Package, name: str, validation: bool) -> tuple[str, Pool, Pool]:
    from spikelet.train.data import load
    from spikelet.train.evaluate import codes

    data = load(name)
    if validation:
        data = data.held_out()
    (tensor, *more) = [t for t in package.graph.inputs if t.name != "seed"]
    if more or tensor.size != int(np.prod(data.shape)):
        raise UsageError(
            f"data set {name}: a sample is {data.shape}, the model's input {tensor.name} "
            f"{tensor.shape}",
            "a data set of another kind",
            "choose one with samples of that size, or give an .npz file",
        )
    pools, first = [], 0
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        if tensor.dtype == "u8":
            values = x.reshape(len(x), *tensor.shape)
        else:
            values = codes(package.graph, data, x)
        pools.append(_pool(package, {tensor.name: values}, y, first))
        first += len(y)
    return f"{name}, {data.test_part}", pools[0], pools[1]


def _of_file(package: Package, path: Path, given: str) -> tuple[str, Pool, Pool]:
    arrays = load_arrays(path, given)
    test = {k.removesuffix("_test"): v for k, v in arrays.items() if k.endswith("_test")}
    train = {k: v for k, v in arrays.items() if not k.endswith("_test")}
    if not train:
        raise UsageError(
            f"{given}: nothing to learn, arrays {sorted(arrays)}",
            "a test part alone",
            "np.savez('data.npz', x=x, y=labels), x_test= and y_test= for a test part",
        )
    pools = []
    for part in (train, test):
        if not part:
            continue
        stream = array_stream(package, part, given, str(path), 65534)
        if stream.labels is None:
            raise UsageError(
                f"{given}: no labels, arrays {sorted(arrays)}",
                "a learner is told the class of each sample",
                "np.savez('data.npz', x=x, y=labels), x_test= and y_test= for a test part",
            )
        pools.append(_pool(package, stream.inputs, stream.labels))
    if len(pools) == 2:
        return str(path), pools[0], pools[1]
    return f"{path}, every {HELD_OUT}th sample of a class evaluated", *_split(pools[0], given)


def _of_vectors(package: Package, missing: UsageError) -> tuple[str, Pool, Pool]:
    labels = package.labels
    if labels is None:
        raise UsageError(
            f"package {package.graph.name}: its vectors have no labels, and {missing.what}",
            "there is nothing to learn from",
            "give an .npz file with x and y, or the name of a data set, with --data",
        )
    pool = _pool(package, package.inputs, labels.astype(np.int64))
    return (
        f"the package's vectors, every {HELD_OUT}th of a class evaluated",
        *_split(pool, f"package {package.graph.name}"),
    )


def _split(pool: Pool, given: str) -> tuple[Pool, Pool]:
    """Every fourth sample of each class apart."""
    test = np.zeros(len(pool), bool)
    for label in np.unique(pool.labels):
        test[np.flatnonzero(pool.labels == label)[HELD_OUT - 1 :: HELD_OUT]] = True
    if not test.any():
        raise UsageError(
            f"{given}: {len(pool)} samples, too few to evaluate on some of them",
            f"a class has fewer than {HELD_OUT} samples",
            "give x_test and y_test",
        )
    return pool.take(np.flatnonzero(~test)), pool.take(np.flatnonzero(test))


def _pool(package: Package, values: dict[str, Array], labels: Array, first: int = 0) -> Pool:
    inputs = {t.name: t for t in package.graph.inputs}
    if "seed" in inputs and "seed" not in values:
        seed = int(package.manifest.get("seed", 0))
        values = {**values, "seed": sample_seeds(seed, len(labels), first)}
    return Pool(inputs, values, labels.astype(np.int64))
