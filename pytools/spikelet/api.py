"""Spikelet from Python: a model as one object, to predict with, to look at, to build and to run.

All of it is `import spikelet`; nothing is loaded before it is asked for. The examples of this file
are one session, and a test runs them. It begins so:

>>> import numpy as np, torch, spikelet
>>> x = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
>>> y = np.argmax(x[:, :3], axis=1)
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
>>> for _ in range(200):
...     optimiser.zero_grad()
...     torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y)).backward()
...     _ = optimiser.step()
>>> package = spikelet.export(net, x[:1], x, labels=y, name="tiny")

Arrays count samples along their first axis. Values are real numbers in the units of the model that
was given; tensors of PyTorch do as well as arrays. Whatever is wrong with what is given is a
`spikelet.errors.UsageError` that says what, why, and what to do.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy.typing as npt

from spikelet import package as packages
from spikelet.board import DEFAULT_BAUD, Board, boards, find_board
from spikelet.codegen.library import Library
from spikelet.errors import UsageError
from spikelet.graph import Array
from spikelet.graph.declared import quote_name
from spikelet.graph.target import ANY, Target
from spikelet.link import Device as Link
from spikelet.link import open_transport
from spikelet.quantise import Options
from spikelet.run import (
    BuiltImage,
    SampleStream,
    SessionFolder,
    SessionTarget,
    make,
    package_stream,
    with_arena,
)
from spikelet.run import connect as open_device
from spikelet.run import run as run_session
from spikelet.run.bench import with_layers
from spikelet.run.exported import export_c as export_library
from spikelet.run.learner import DeviceLearner
from spikelet.run.overview import Summary, summarise
from spikelet.run.real_device import Device, State
from spikelet.run.reals import Given, Prediction, golden, prediction, real_values, samples_of
from spikelet.run.recorded import Page, Session
from spikelet.run.session import TICKS
from spikelet.run.session_options import AUTO, SESSIONS
from spikelet.samples import GivenArrays, labels_key, plain_array
from spikelet.text import words

if TYPE_CHECKING:
    from torch import nn

    from spikelet.frontends.snntorch.spiking import Spiking
    from spikelet.frontends.torch.exporter import Example, Samples
    from spikelet.train import EpochProgress

__all__ = [
    "Device",
    "Package",
    "Page",
    "Prediction",
    "Session",
    "State",
    "Summary",
    "connect",
    "export",
    "import_model",
    "load",
    "train",
]


class Package(packages.Package):
    """A deployable network with the proof that goes with it, and all that can be done with it.

    `graph`, `vectors` (test samples with golden outputs) and `manifest` (what made it, accuracies)
    are what the file NAME.spk holds. `export`, `import_model`, `train` and `load` make one; none
    of its methods changes it.

    >>> package
    <Package tiny: x i8 (4,) -> linear_2 i8 (3,); 2 operators; 96 samples>
    >>> package.save("tiny.spk")
    >>> spikelet.load("tiny.spk").sha256 == package.sha256
    True
    """

    @classmethod
    def of(cls, package: packages.Package) -> Self:
        """The same package, hash included, with what can be done with it."""
        if isinstance(package, cls):
            return package
        made = cls(package.graph, package.vectors, package.manifest)
        made._file = package._file
        return made

    def predict(self, x: Given) -> Prediction:
        """What the integer model says: golden, and therefore what a device says, to the bit.

        Args:
            x: (N, *shape) real values in the shape and units of the source, or codes in the
                input's own type; a mapping where there are several inputs.

        Raises:
            UsageError: a shape, a type, a range or a name that the model does not take.

        >>> made = package.predict(x)
        >>> float((made.label == y).mean()) > 0.9
        True
        >>> real = net(torch.tensor(x)).detach().numpy()
        >>> float(abs(made.outputs["linear_2"] - real).max() / abs(real).max()) < 0.05
        True
        """
        return prediction(self, golden(self, samples_of(self, x)))

    def layers(self, x: Given) -> dict[str, Array]:
        """What every operator writes, in every step, by golden.

        Args:
            x: as of `predict`; all of it is held at once.

        Returns:
            By tensor, (rows, N, *shape) real values in the graph's order of axes (channels last): a
            row a step, one row of what runs once.

        >>> {name: values.shape for name, values in package.layers(x[:5]).items()}
        {'linear_0': (1, 5, 8), 'linear_2': (1, 5, 3)}
        """
        trace = self.graph.run(samples_of(self, x).inputs, trace=True).trace
        return {name: real_values(self.graph.tensors[name], v) for name, v in trace.items()}

    def name_classes(self, names: Sequence[str]) -> Self:
        """The same model, whose predictions are names; its hash is another one.

        Args:
            names: of the classes, in the order of their numbers.

        >>> named = package.name_classes(["left", "right", "up"]).predict(x)
        >>> bool((named.label == np.array(["left", "right", "up"])[package.predict(x).label]).all())
        True
        """
        wanted = self.graph.highest_prediction + 1
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
        noted = {"classes": wanted, "class_names": said}
        return type(self)(self.graph, self.vectors, {**self.manifest, **noted})

    def summary(self, board: str | Board | None = None) -> Summary:
        """The layer table, with what the model takes of flash and RAM.

        Args:
            board: whose kernels are counted; None for portable C.

        >>> package.summary("virt-rv32").facts["totals"]["inference"]["macs"]
        56
        """
        return summarise(self, ANY if board is None else _board(board).target)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def with_arena(self, most: int, board: str | Board) -> Self:
        """The same function with an arena of at most so many bytes.

        The first layers are executed in bands of rows where it takes that.

        Raises:
            UsageError: no bands take so little.
        """
        return type(self).of(with_arena(self, most, _board(board))[0])

    def with_learner(
        self,
        learner: str,
        x: Given,
        y: npt.ArrayLike,
        *,
        classes: int | None = None,
        features: str | None = None,
        board: str | Board | None = None,
    ) -> Self:
        """The model with a learner in it, which learns on the device; its hash is another one.

        Args:
            learner: NAME[,option=value...]; `spikelet learners` lists them.
            x, y: samples and their classes, such as it will learn: what calibrates the learner.
            classes: to tell apart; None for as many as y has.
            features: tensor that it reads; None for what the last layer with weights reads.
            board: whose RAM it must fit; None for any.

        Raises:
            UsageError: an unknown learner or option; it does not fit the model, or the board.

        >>> learner = package.with_learner("nearest_mean", x, y)
        >>> learner.graph.learns
        True
        """
        from spikelet.run.learning.data import stream_data
        from spikelet.run.learning.lesson import lesson

        data = stream_data(self, samples_of(self, x, y, 32766), classes)
        on = None if board is None else _board(board)
        return type(self).of(lesson(self, learner, data, on, features).package)

    def build(
        self,
        board: str | Board = "native",
        out: Path | str | None = None,
        *,
        toolchain: str = AUTO,
        layers: bool = False,
    ) -> BuiltImage:
        """Generate the C and build the image for a board.

        Args:
            board: a board's name, or its folder; `spikelet boards` lists them.
            out: folder for C and image; by default spikelet-build/MODEL-BOARD.
            toolchain: one of the board's.
            layers: a trace build: a host may ask for every layer.

        Raises:
            BuildError: the compiler refuses; ImageTooLarge: it does not fit.

        >>> image = package.build("native")
        >>> image.firmware.elf.is_file(), image.facts()["weight_bytes"] > 0
        (True, True)
        """
        on = _board(board)
        name = f"{self.graph.name}-{on.name}{'-trace' if layers else ''}"
        folder = Path("spikelet-build") / name if out is None else Path(out)
        return make(self, on, folder, toolchain=toolchain, trace=layers)

    def run(
        self,
        board: str | Board = "native",
        x: Given | None = None,
        y: npt.ArrayLike | None = None,
        *,
        layers: bool = False,
        port: str | None = None,
        machine: str = AUTO,
        session: Path | str | None = None,
    ) -> Session:
        """Run samples on a board and compare all with golden, bit for bit.

        Args:
            board: a board's name, or its folder.
            x: samples as of `predict`; by default the package's own, with their classes.
            y: (N,) their classes, where they are known.
            layers: compare every layer in every step, on a trace build, not outputs alone.
            port: of hardware that was flashed before, a device file or pyserial URL; else the
                image is built and a machine of the board started.
            machine: one of the board's.
            session: the session's folder; by default spikelet-sessions/MODEL-BOARD.

        Raises:
            UsageError: what is given does not fit; LinkDead: the device is gone.

        >>> session = package.run("virt-rv32", x, y)
        >>> session.mismatches, bool((session.label == package.predict(x).label).all())
        (0, True)
        """
        on, samples = _board(board), self._samples(x, y)
        folder = self._folder(session, on.name)
        if port is None:
            target = _machine(self, on, folder.path / "build", machine, layers)
        else:
            target = SessionTarget(on, port=port)
        result, _ = run_session(
            self, target, samples, folder, layers=layers, shown=0 if layers else None
        )
        return Session(folder.path, result)

    def bench(
        self,
        board: str | Board,
        x: Given | None = None,
        *,
        machine: str = AUTO,
        toolchain: str = AUTO,
        session: Path | str | None = None,
    ) -> Session:
        """What an inference costs on a board's machine, layer by layer.

        Args:
            board: a board with a machine that counts instructions or cycles.
            x: samples as of `predict`; by default the package's own.
            machine, toolchain: of the board.
            session: the session's folder; by default spikelet-sessions/MODEL-BOARD-bench.

        Returns:
            A session whose `result` holds `layers`, too: ticks and work of each.

        >>> bench = package.bench("virt-rv32", x[:4])
        >>> sum(layer["ticks"] for layer in bench.result["layers"]) > 0
        True
        """
        on, samples = _board(board), self._samples(x, None)
        folder = self._folder(session, f"{on.name}-bench")
        images = (
            make(self, on, folder.path / f"build{'-trace' if trace else ''}", toolchain=toolchain,
                 trace=trace)
            for trace in (False, True)
        )  # fmt: skip
        release, traced = (SessionTarget(on, image, machine) for image in images)
        result, outcome = run_session(self, release, samples, folder)
        bench = with_layers(self, on, traced, samples, result, outcome)
        folder.keep_bench(bench)
        return Session(folder.path, bench)

    def report(self, board: str | Board = "native", out: Path | str | None = None) -> Page:
        """Run the package's own samples on a board, every layer compared; the session's page.

        Args:
            board: a board's name, or its folder.
            out: the file; by default report.html in the session's folder.

        >>> package.report(out="report.html")
        <Page report.html>
        """
        return self.run(board, layers=True).report(out)

    def export_c(
        self,
        folder: Path | str,
        target: str | Board = "host",
        *,
        name: str | None = None,
        keep_inputs: bool = False,
    ) -> Library:
        """Write the model as a C library for other people's firmware.

        Args:
            folder: new, or a library that was written before; README.md in it says how to use it.
            target: a core: `host`, `portable`, `cortex-m0` to `cortex-m85`, `rv32imac`, ...; or a
                board's name, or its folder.
            name: what all names of the library begin with; by default the model's.
            keep_inputs: an inference leaves its inputs as they were, which takes more RAM.

        Raises:
            UsageError: an unknown core, or a folder that holds something else.

        >>> library = package.export_c("tiny-c", "cortex-m4")
        >>> library.prefix, (library.folder / "include" / "tiny.h").is_file()
        ('tiny', True)
        """
        core = _core(target)
        return export_library(self, Path(folder), core, name=name, keep_inputs=keep_inputs)

    def _samples(self, x: Given | None, y: npt.ArrayLike | None) -> SampleStream:
        return package_stream(self) if x is None else samples_of(self, x, y)

    def _folder(self, session: Path | str | None, name: str) -> SessionFolder:
        default = SESSIONS / f"{self.graph.name}-{name}"
        return SessionFolder(default if session is None else Path(session))


def export(
    module: nn.Module,
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
            `options=Spiking(...)` a network of snnTorch.
        example: one input (1, *shape), or a tuple of several.
        calibration: real inputs (N, *shape) that ranges are found on, a hundred or more; or batches
            of them, such as a DataLoader gives; by name where there are several inputs.
        name: of the model, a C identifier.
        test: samples that become the package's test vectors; by default the first 200 of
            `calibration`.
        labels: (N,) classes of `test`, or of `calibration` without `test`: the manifest then holds
            the accuracies and their difference.
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
        made = frontend.export(
            module, example, calibration, name=name, test=test, labels=labels, options=options
        )
    else:
        from spikelet.frontends.snntorch.spiking import export_samples

        real = frontend.gather_samples(calibration, "calibration")
        tested = None if test is None else frontend.gather_samples(test, "test")
        classes = None if labels is None else plain_array(labels)
        made = export_samples(module, real, tested, classes, name, options)
        samples_of(made, example)
    package = Package.of(made)
    if out is not None:
        package.save(out)
    return package


def import_model(
    path: Path | str,
    calibration: Given | Path | None = None,
    *,
    labels: npt.ArrayLike | None = None,
    class_names: Sequence[str] | None = None,
    frames: int | None = None,
    options: Options | None = None,
) -> Package:
    """A .tflite or .onnx file as a package.

    Args:
        path: the file.
        calibration: real inputs (N, *shape), or by name; or an .npz file with `x` and, where known,
            `y`. A float model is quantised with every second sample, the others become the
            package's test vectors; an integer model keeps its codes, and all become vectors.
        labels: (N,) classes of the samples.
        class_names: of the classes, in the order of their numbers; see `Package.name_classes`.
        frames: runs that make one inference of a .tflite network with a state.
        options: how a float model is quantised.

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
        named = calibration if isinstance(calibration, Mapping) else {"x": calibration}
        arrays = {str(key): plain_array(values) for key, values in named.items()}
        if labels is not None:
            arrays[labels_key(arrays)] = plain_array(labels)
        data = GivenArrays(arrays, "calibration", "calibration")
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


def load(path: Path | str) -> Package:
    """Read and verify a package, NAME.spk.

    Raises:
        PackageError: it is missing, damaged, altered, or of another version.

    >>> package.save("tiny.spk")
    >>> spikelet.load("tiny.spk")
    <Package tiny: x i8 (4,) -> linear_2 i8 (3,); 2 operators; 96 samples>
    """
    return Package.load(path)


@contextmanager
def connect(
    board: str | Board,
    package: packages.Package,
    *,
    layers: bool = False,
    port: str | None = None,
    baud: int | None = None,
    machine: str = AUTO,
) -> Iterator[Device]:
    """A device that holds a package, for as long as the `with` lasts.

    Args:
        board: a board's name or folder: its image is built and a machine of it started. Or the port
            of hardware that was flashed before, a device file or pyserial URL: the board is then
            one with the core that the device names.
        package: what it holds; facts, tensors and weights are compared before anything is run.
        layers: a trace build, for `Device.layers`.
        port: of hardware, beside its board.
        baud: bits a second of the port's line; by default the board's.
        machine: one of the board's.

    Raises:
        UsageError: a board or a port that does not exist, an image that does not fit.
        LinkDead: nothing answers, or it is another model or another board.

    >>> with spikelet.connect("virt-rv32", package) as device:
    ...     device.infer(x[:2]).label.shape
    (2,)
    """
    held = Package.of(package)
    if port is None and isinstance(board, str) and _is_port(board):
        port, board = board, _board_at(board, baud)
    on = _board(board)
    with tempfile.TemporaryDirectory(prefix="spikelet-") as folder:
        if port is None:
            target = _machine(held, on, Path(folder), machine, layers)
        else:
            target = SessionTarget(on, port=port, baud=baud)
        with open_device(target, held) as (link, _):
            yield Device(held, DeviceLearner(held.graph, link))


def _is_port(text: str) -> bool:
    """Whether it names a port and no board: a URL, a device file or COM1."""
    if text in boards() or Path(text).is_dir():
        return False
    return "://" in text or text.startswith("/dev/") or re.fullmatch(r"COM\d+", text) is not None


def _board_at(port: str, baud: int | None) -> Board:
    """A board that says of itself what the device says; `connect` then compares all of it."""
    with Link(open_transport(port, baud or DEFAULT_BAUD)) as link:
        said = link.hello
    for board in boards().values():
        if (board.isa, TICKS.index(board.tick)) == (said.isa, said.tick_unit):
            return board
    raise UsageError(
        f"{port}: no board has a core {said.isa!a:.40} that counts {TICKS[said.tick_unit]}s",
        "a board of a folder of your own, or of a plug-in that is not installed",
        f"connect(BOARD, package, port={port!r})",
    )


def _core(target: str | Board) -> Target:
    """The core that a name means, or that of a board."""
    if isinstance(target, str):
        try:
            return Target.of_core(target)
        except ValueError as e:
            if target not in boards() and not Path(target).is_dir():
                raise UsageError(str(e), next="name a core or a board") from e
    return _board(target).target


def _machine(
    package: Package, board: Board, folder: Path, machine: str, layers: bool
) -> SessionTarget:
    """A machine of the board, its image built in `folder`."""
    built = None if board.transport == "serial" else make(package, board, folder, trace=layers)
    return SessionTarget(board, built, machine)


def _board(board: str | Board) -> Board:
    return find_board(board) if isinstance(board, str) else board
