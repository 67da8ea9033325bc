"""A package with all that can be done with it: the class that users meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy.typing as npt

from spikelet import package as packages
from spikelet.board import Board
from spikelet.codegen.library import Library
from spikelet.graph import Array
from spikelet.graph.target import ANY
from spikelet.run import BuiltImage, Watch, image_folder, make
from spikelet.run.asked import (
    as_board,
    bench_asked,
    core_or_board,
    in_arena,
    run_asked,
    run_options,
)
from spikelet.run.exported import export_c as export_library
from spikelet.run.overview import Summary, summarise
from spikelet.run.reals import (
    Given,
    Prediction,
    checked_class_names,
    golden_layers,
    golden_prediction,
    samples_of,
)
from spikelet.run.recorded import Page, Session
from spikelet.run.session_options import AUTO, RunOptions

if TYPE_CHECKING:
    from spikelet.learn.networks.training_plan import TrainingPlan
    from spikelet.run.learning.learn_options import LearnOptions


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
        return golden_prediction(self, samples_of(self, x))

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
        return golden_layers(self, samples_of(self, x))

    def name_classes(self, names: Sequence[str]) -> Self:
        """The same model, whose predictions are names; its hash is another one.

        Args:
            names: of the classes, in the order of their numbers.

        >>> named = package.name_classes(["left", "right", "up"]).predict(x)
        >>> bool((named.label == np.array(["left", "right", "up"])[package.predict(x).label]).all())
        True
        """
        said = checked_class_names(self, names)
        noted = {"classes": len(said), "class_names": said}
        return type(self)(self.graph, self.vectors, {**self.manifest, **noted})

    def summary(self, board: str | Board | None = None) -> Summary:
        """The layer table, with what the model takes of flash and RAM.

        Args:
            board: whose kernels are counted; None for portable C.

        >>> package.summary("virt-rv32").facts["totals"]["inference"]["macs"]
        56
        """
        return summarise(self, ANY if board is None else as_board(board).target)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def with_arena(self, most: int, board: str | Board, watch: Watch | None = None) -> Self:
        """The same function with an arena of at most so many bytes.

        The first layers are executed in bands of rows where it takes that.

        Raises:
            UsageError: no bands take so little.
        """
        return type(self).of(in_arena(self, most, as_board(board), watch or Watch()))

    def with_learner(
        self,
        learner: str,
        x: Given | Path | None = None,
        y: npt.ArrayLike | None = None,
        *,
        classes: int | None = None,
        features: str | None = None,
        board: str | Board | None = None,
    ) -> Self:
        """The model with a learner in it, which learns on the device; its hash is another one.

        Args:
            learner: NAME[,option=value...]; `spikelet learners` lists them.
            x, y: samples and their classes, such as it will learn: what calibrates the learner. Or
                x names data, as `spikelet learn --data` does: a file, or a data set; None for what
                the package was trained on.
            classes: to tell apart; None for as many as y has.
            features: tensor that it reads; None for what the last layer with weights reads.
            board: whose RAM it must fit; None for any.

        Raises:
            UsageError: an unknown learner or option; it does not fit the model, or the board.

        >>> learner = package.with_learner("nearest_mean", x, y)
        >>> learner.graph.learns
        True
        """
        from spikelet.run.learning.asked import taught

        on = None if board is None else as_board(board)
        return type(self).of(taught(self, learner, x, y, classes, features, on).package)

    def learning_plan(self, board: str | Board | None = None) -> TrainingPlan:
        """What learning takes, of a package with a learner: bytes of RAM and flash, and work.

        Args:
            board: whose kernels and flash pages are counted; None for portable C.

        >>> package.with_learner("nearest_mean", x, y).learning_plan().needs.commit_bytes > 0
        True
        """
        from spikelet.run.learning.lesson import learning_plan

        return learning_plan(self.graph, None if board is None else as_board(board))

    def build(
        self, board: str | Board = "native", out: Path | str | None = None, *,
        toolchain: str = AUTO, layers: bool = False, self_test: bool = True,
        device_key: Path | str | None = None,
    ) -> BuiltImage:  # fmt: skip
        """Generate the C and build the image for a board.

        Args:
            board: a board's name, or its folder; `spikelet boards` lists them.
            out: folder for C and image; by default spikelet-build/MODEL-BOARD.
            toolchain: one of the board's.
            layers: a trace build: a host may ask for every layer.
            self_test: of a model that learns: it runs golden samples when it boots and commits.
            device_key: a public key, KEY.pub: over the link the device takes over only what its
                holder has signed; see SECURITY.md.

        Raises:
            BuildError: the compiler refuses; ImageTooLarge: it does not fit.

        >>> image = package.build("native")
        >>> image.firmware.elf.is_file(), image.facts()["weight_bytes"] > 0
        (True, True)
        """
        on = as_board(board)
        folder = image_folder(self, on, layers) if out is None else Path(out)
        return make(
            self, on, folder, toolchain=toolchain, trace=layers, tests_itself=self_test,
            device_key=None if device_key is None else Path(device_key),
        )  # fmt: skip

    def run(
        self,
        board: str | Board | RunOptions = "native",
        x: Given | None = None,
        y: npt.ArrayLike | None = None,
        *,
        layers: bool = False,
        port: str | None = None,
        session: Path | str | None = None,
        watch: Watch | None = None,
    ) -> Session:
        """Run samples on a board and compare all with golden, bit for bit.

        Args:
            board: a board's name, or its folder; or `RunOptions`: all that `spikelet run` can be
                asked, such as a machine, to flash first, to go on with a session.
            x: samples as of `predict`; by default the package's own, with their classes.
            y: (N,) their classes, or what a regression should give, where they are known.
            layers: compare every layer in every step, on a trace build, not outputs alone.
            port: of hardware that was flashed before, a device file or pyserial URL; else the
                image is built and a machine started.
            session: the session's folder; by default spikelet-sessions/MODEL-BOARD.
            watch: told what happens meanwhile; derive from `Watch`.

        Raises:
            UsageError: what is given does not fit; LinkDead: the device is gone.

        >>> session = package.run("virt-rv32", x, y)
        >>> session.mismatches, bool((session.label == package.predict(x).label).all())
        (0, True)
        >>> few = spikelet.RunOptions(board="native", toolchain="gcc", limit=5)
        >>> package.run(few, layers=True).result["samples"]
        5
        """
        options = run_options(board, layers=layers, port=port, session=session)
        return Session(*run_asked(self, options, x, y, watch or Watch()))

    def bench(
        self,
        board: str | Board | RunOptions,
        x: Given | None = None,
        *,
        session: Path | str | None = None,
        watch: Watch | None = None,
    ) -> Session:
        """What an inference costs on a board, layer by layer.

        Args:
            board: a board with a machine that counts instructions or cycles; or `RunOptions`. Of
                a device behind a port the layers are measured with `flash`; or, once you have
                flashed the trace build, with `layers`, which adds them to the session.
            x: samples as of `predict`; by default the package's own.
            session: the session's folder; by default spikelet-sessions/MODEL-BOARD-bench.
            watch: told what happens meanwhile.

        Returns:
            A session whose `result` holds `layers`, too: ticks and work of each.

        >>> bench = package.bench("virt-rv32", x[:4])
        >>> sum(layer["ticks"] for layer in bench.result["layers"]) > 0
        True
        """
        options = run_options(board, session=session)
        return Session(*bench_asked(self, options, x, watch or Watch()))

    def learn(
        self,
        options: LearnOptions,
        x: Given | None = None,
        y: npt.ArrayLike | None = None,
        *,
        watch: Watch | None = None,
    ) -> Session:
        """Let a device learn a stream of samples, its golden twin beside it.

        Args:
            options: `LearnOptions`: the board, the learner, the stream, and all else that
                `spikelet learn` can be asked.
            x, y: samples as of `predict` and their classes, of which every fourth of a class is
                evaluated and never learned; by default what `options.data` names.
            watch: told what happens meanwhile.

        Raises:
            UsageError: what is given does not fit; LinkDead: the device is gone.

        >>> options = spikelet.LearnOptions(
        ...     board="native", learner="nearest_mean", stream="iid,tasks=1", baselines=False)
        >>> taught = package.learn(options, x, y)
        >>> taught.mismatches, taught.result["learning"]["acc"] > 0.5
        (0, True)
        """
        from spikelet.run.learning.asked import learn_asked

        return Session(*learn_asked(self, options, x, y, watch or Watch()))

    def report(self, board: str | Board = "native", out: Path | str | None = None) -> Page:
        """Run the package's own samples on a board, every layer compared; the session's page.

        Args:
            board: a board's name, or its folder.
            out: by default report.html in the session's folder.

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
        samples: Mapping[str, Array] | None = None,
        device_key: Path | str | None = None,
    ) -> Library:
        """Write the model as a C library for other people's firmware.

        Args:
            folder: new, or of a library that was written before; or NAME.zip. See its README.md.
            target: a core: `host`, `portable`, `cortex-m0` to `cortex-m85`, `rv32imac`, ...; or a
                board, by name or folder: README.md then has what an inference takes on it.
            name: what all names of the library begin with; by default the model's.
            keep_inputs: an inference leaves its inputs as they were, which takes more RAM.
            samples: of the example, as `Package.vectors` has them; by default the package's own.
                A package with a learner has none.
            device_key: a public key, KEY.pub, for `NAME_restore_signed`; see SECURITY.md.

        Raises:
            UsageError: an unknown core, or a folder that holds something else.

        >>> library = package.export_c("tiny-c", "cortex-m4")
        >>> library.prefix, (library.folder / "include" / "tiny.h").is_file()
        ('tiny', True)
        """
        return export_library(
            self, Path(folder), core_or_board(target), name=name, keep_inputs=keep_inputs,
            vectors=samples, device_key=None if device_key is None else Path(device_key),
        )  # fmt: skip

    def export_onnx(self, path: Path | str) -> int:
        """Write the model as an ONNX file, QDQ with floats at both ends; how many bytes it has.

        >>> package.export_onnx("tiny-qdq.onnx") > 0
        True
        """
        from spikelet.frontends.onnx.export import save

        return save(self.graph, Path(path))
