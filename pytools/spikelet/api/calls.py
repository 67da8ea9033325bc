"""What makes, compares and connects to packages: the functions that users call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from spikelet import package as packages
from spikelet.api.package import Package
from spikelet.board import Board
from spikelet.quantise import Options
from spikelet.run.connected import connected
from spikelet.run.real_device import Device
from spikelet.run.reals import (
    Given,
    samples_of,
)
from spikelet.run.recorded import Session
from spikelet.run.session_options import AUTO
from spikelet.samples import GivenArrays

if TYPE_CHECKING:
    from spikelet.frontends.nir.options import NirOptions
    from spikelet.frontends.snntorch.spiking import Network, Spiking
    from spikelet.frontends.torch.exporter import Example, Samples
    from spikelet.train import EpochProgress


def export(
    module: Network,
    example: Example | tuple[Example, ...],
    calibration: Samples,
    *,
    name: str = "model",
    test: Samples | None = None,
    labels: Example | None = None,
    out: Path | str | None = None,
    options: Options | Spiking | None = None,
) -> Package:
    """A trained module of PyTorch or snnTorch as a package, without training.

    Args:
        module: any module that torch.export can trace, taken in evaluation mode; with
            `options=Spiking(...)` a network of snnTorch, SpikingJelly or Norse, or a function that
            runs one; see docs/spiking.md.
        example: one input (1, *shape), or a tuple of several.
        calibration: real inputs (N, *shape) that ranges are found on, a hundred or more; or batches
            of them, such as a DataLoader gives, of which the first 1024 samples are used; by the
            names of forward's arguments where there are several inputs.
        name: of the model, a C identifier.
        test: samples that become the package's test vectors; by default the first 200 of
            `calibration`.
        labels: (N,) classes of `test`, or of `calibration` without `test`: the manifest then holds
            accuracies and drift. Of a regression, real numbers: `float_error`, `integer_error`.
        out: where to save the package, if given.
        options: `Spiking` for a network of spiking neurons; for others `spikelet.quantise.Options`
            or nothing.

    Raises:
        UsageError: names the layer and the line of Python that cannot be carried over, or what of
            the samples does not fit.

    >>> import snntorch
    >>> spiking = torch.nn.Sequential(
    ...     torch.nn.Linear(4, 8), snntorch.Leaky(beta=0.9, init_hidden=True),
    ...     torch.nn.Linear(8, 3), snntorch.Leaky(beta=0.9, init_hidden=True, output=True))
    >>> spikelet.export(
    ...     spiking, x[:1], x, labels=y, name="spiking", options=spikelet.Spiking(steps=10))
    <Package spiking: x u8 (4,) -> label i32 (1,), counts i16 (3,); ...; 96 samples>
    """
    from spikelet.frontends import torch as frontend

    if options is None or isinstance(options, Options):
        chosen = options or Options()
        made = frontend.export(module, example, calibration, test, labels, name, chosen)  # type: ignore[arg-type]  # it refuses others
    else:
        from spikelet.frontends.snntorch.spiking import export_samples

        made = export_samples(module, calibration, test, labels, name, options)
        samples_of(made, example)
    if out is not None:
        made.save(out)
    return Package.of(made)


def import_model(
    path: Path | str,
    calibration: Given | Path | None = None,
    *,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    frames: int | None = None,
    options: Options | NirOptions | None = None,
) -> Package:
    """A .tflite, .onnx or .nir file as a package.

    Args:
        path: the file.
        calibration: real inputs (N, *shape), or by name; or an .npz file with `x` and, where known,
            `y`. A float model is quantised with every second sample, the others become the
            package's test vectors; an integer model keeps its codes, and all become vectors.
        labels: (N,) classes of the samples, or what a regression should give.
        class_names: of the classes, in the order of their numbers; see `Package.name_classes`.
        frames: runs that make one inference of a .tflite network with a state.
        options: how a float model is quantised; of a .nir file a `frontends.nir.NirOptions`.

    Raises:
        UsageError: names the node and its attributes that cannot be carried over, or what of the
            samples does not fit.

    >>> spikelet.import_model("tiny.onnx", x, labels=y)
    <Package tiny: x i8 (4,) -> ...; 2 operators; 48 samples>
    """
    from spikelet.frontends.model_file import import_file

    data = None
    if isinstance(calibration, str | Path):
        data = GivenArrays.of_file(Path(calibration), "calibration")
    elif calibration is not None:
        data = GivenArrays.of_values(calibration, labels, "calibration")
    package = Package.of(import_file(Path(path), data, options, frames))
    return package if class_names is None else package.name_classes(class_names)


def train(
    model_dir: Path | str,
    seed: int | None = None,
    progress: Callable[[EpochProgress], None] | None = None,
) -> Package:
    """Train a recipe; the same recipe, seed and versions give the same package, bit for bit.

    Args:
        model_dir: a folder with recipe.toml and model.py, whose Python is executed; or the name of
            a model that comes with Spikelet: `spikelet models` lists them.
        seed: in place of the recipe's.
        progress: called after each epoch.

    Raises:
        UsageError: a fault in the recipe, or data that is missing.

    >>> spikelet.train("my_model").manifest["integer_accuracy"] > 0.5
    True
    """
    from spikelet.train import model_path
    from spikelet.train import train as train_recipe

    return Package.of(train_recipe(model_path(str(model_dir)), seed, progress))


def load(path: Path | str, trusted: Path | None = None) -> Package:
    """Read and verify a package, NAME.spk, which must be signed by a key if one is `trusted`.

    Raises:
        PackageError: it is missing, damaged, altered, or of another version.
        SignatureError: it is not what the key's holder signed, or older than what was seen.

    >>> package.save("tiny.spk")
    >>> spikelet.load("tiny.spk")
    <Package tiny: x i8 (4,) -> linear_2 i8 (3,); 2 operators; 96 samples>
    """
    return Package.load(path, trusted)


def compare(
    a: packages.Package | Session | Path | str,
    b: packages.Package | Session | Path | str,
    fail_if: Sequence[str] = (),
    board: str | Board | None = None,
    trusted: Path | None = None,
) -> dict[str, Any]:
    """Two sessions or two packages, figure by figure and layer by layer.

    Args:
        a, b: both sessions or both packages; or their folders and files.
        fail_if: bars that b must not miss: 'ram>+5%' (more), 'accuracy<-0.5', 'mismatches>0'.
        board: of packages, whose kernels are counted; None for portable C.
        trusted: of packages that are given by their paths; see `Package.load`.

    Returns:
        What `spikelet compare --json` prints; `missed` is how many bars b misses.

    Raises:
        UsageError: one is a session and the other a package, or a bar cannot be judged.

    >>> spikelet.compare(package, package.with_learner("nearest_mean", x, y), ["ram>+0"])["missed"]
    1
    """
    from spikelet.run.compare_sides import compare_given

    first, second = (side.path if isinstance(side, Session) else side for side in (a, b))
    return compare_given(first, second, fail_if, board, trusted)


def connect(
    board: str | Board,
    package: packages.Package,
    *,
    layers: bool = False,
    port: str | None = None,
    baud: int | None = None,
    machine: str = AUTO,
    device_key: Path | str | None = None,
) -> AbstractContextManager[Device]:
    """A device that holds a package, for as long as the `with` lasts.

    Args:
        board: a board's name or folder: its image is built and a machine of it started. Or the port
            of hardware that was flashed before, a device file or pyserial URL: the board is then
            one with the core that the device names.
        package: what it holds; facts, tensors and weights are compared before anything is run.
        layers: a trace build, for `Device.layers`.
        port: of hardware, beside its board.
        baud: bits a second that the port's line changes to; by default the board's.
        machine: one of the board's.
        device_key: as of `Package.build`; with a port, the device must have been built with one.

    Raises:
        UsageError: a board or a port that does not exist, an image that does not fit.
        LinkDead: nothing answers, or it is another model or another board.

    >>> with spikelet.connect("virt-rv32", package) as device:
    ...     device.infer(x[:2]).label.shape
    (2,)
    """
    key = None if device_key is None else Path(device_key)
    return connected(board, Package.of(package), layers, port, baud, machine, key)
