"""recipe.toml and model.py: what to train, on what, how."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor, nn

from spikelet.errors import UsageError
from spikelet.events import Binning
from spikelet.frontends.spiking.encoders import DirectCurrent, Encoder, Latency, Poisson
from spikelet.graph import Array
from spikelet.train.data import DataSet, load, smaller


class RecipeError(UsageError):
    """A recipe that cannot be read, or that asks for something impossible."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EventsSection(_Section):
    """`[data.events]`: how address events become frames, see `spikelet.events.Binning`.

    With `image` the frames of a recording are channels of one image, for a network without time.
    """

    steps: Annotated[int, Field(ge=1, le=1024)]
    bin_us: Annotated[int, Field(ge=1)]
    counts: bool = False
    pool: Annotated[int, Field(ge=1)] = 1
    image: bool = False

    def binning(self) -> Binning:
        """The same as the reader of events takes it."""
        return Binning(self.steps, self.bin_us, self.counts, self.pool)


class DataSection(_Section):
    """`[data]`: a name in `spikelet.train.data.DATA_SETS`, and what is taken of it.

    Images are cut to a square of `crop` pixels about their middle, then made one of `size` pixels.
    """

    name: str
    classes: Annotated[int, Field(ge=2)] | None = None
    crop: Annotated[int, Field(ge=2)] | None = None
    size: Annotated[int, Field(ge=2)] | None = None
    # Share of the training part that is not trained on: thresholds are chosen on it.
    held_out: Annotated[float, Field(gt=0, le=0.5)] | None = None
    # Of a data set of address events.
    events: EventsSection | None = None
    # So many frames of zeros behind each sample, whose first axis is time: what a network says
    # late is still said.
    silent: Annotated[int, Field(ge=1, le=1023)] | None = None
    # In place of the data set's own test part: this one of five folds over all its samples.
    fold: Annotated[int, Field(ge=0, le=4)] | None = None

    def load(self) -> DataSet:
        """The data; raises DataError."""
        return self.sized(self.whole())

    def whole(self) -> DataSet:
        """The data with images in the size that they come in; raises DataError."""
        data = load(self.name, None if self.events is None else self.events.binning())
        if self.events is not None and self.events.image:
            data = data.one_image()
        data = data if self.silent is None else data.with_silence(self.silent)
        data = data if self.fold is None else data.fold(self.fold)
        return data if self.classes is None else data.first(self.classes)

    def sized(self, whole: DataSet) -> DataSet:
        """Its images cut and made smaller; raises DataError."""
        if self.crop is None and self.size is None:
            return whole
        return whole.resized(self.crop, self.size)

    def sized_images(self, x: Array) -> Array:
        """`sized` for images (N, H, W, C) of u8 codes alone."""
        crop = self.crop or x.shape[1]
        size = self.size or crop
        return x if size == x.shape[1] else smaller(x, crop, size)


class NetworkSection(_Section):
    """`[network]`: what surrounds the layers of model.py."""

    steps: Annotated[int, Field(ge=1, le=1024)]
    encoder: Literal["direct", "poisson", "latency"] = "direct"
    readout: Literal["spike_count", "membrane", "sum"] = "spike_count"

    def encoding(self) -> Encoder:
        """The encoder as the frontend takes it."""
        kinds: dict[str, Encoder] = {
            "direct": DirectCurrent(),
            "poisson": Poisson(),
            "latency": Latency(),
        }
        return kinds[self.encoder]


class TrainSection(_Section):
    """`[train]`: the float phase. Adam, cosine decay of the rate to 0, cross-entropy."""

    epochs: Annotated[int, Field(ge=1, le=10000)]
    batch: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    # The scores are multiplied by it before the cross-entropy.
    score_scale: Annotated[float, Field(gt=0)] = 1.0


class QuantiseSection(_Section):
    """`[quantise]`: epochs with the weights, thresholds and decays that will be exported."""

    epochs: Annotated[int, Field(ge=0, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)]


class Int8TrainSection(_Section):
    """`[train]` of an int8 network: the float phase. AdamW, a short warm-up, cosine decay to 0."""

    # In place of the float phase: a model that comes with Spikelet, or a package's file, of a
    # network with the same layers. Its weights are where the training with rounding begins.
    start: str | None = None
    epochs: Annotated[int, Field(ge=0, le=10000)]
    batch: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # A class counts as its frequency to the power of minus this: 0 not at all, 1 in full.
    class_weights: Annotated[float, Field(ge=0, le=1)] = 0.0

    @field_validator("epochs")
    @classmethod
    def _begun(cls, epochs: int, given: ValidationInfo) -> int:
        if (epochs == 0) != (given.data.get("start") is not None):
            raise ValueError("either epochs of a float phase, or a start and epochs = 0")
        return epochs


Width = Literal[8, 4, 2, 1]


class DeformSection(_Section):
    """`[deform]`: each training image is drawn anew, see `spikelet.train.deform`.

    Every figure is the most of it, to either side.
    """

    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # degrees
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the size, each axis for itself
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the height
    shift: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the size
    # Standard deviation of a smooth displacement of each pixel, of the size.
    elastic: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # So many copies of each image are drawn before training, by a seed of their own, and epochs
    # take them in turn: see `spikelet.train.copies`. Without it each batch is drawn anew.
    copies: Annotated[int, Field(ge=1, le=256)] | None = None
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] | None = None


class TeacherSection(_Section):
    """`[teacher]`: a wide float network, trained first, that the network learns from.

    See `spikelet.train.teacher`, which keeps it between runs.
    """

    channels: Annotated[int, Field(ge=1)] = 32
    epochs: Annotated[int, Field(ge=1, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)]
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    # Of the loss: how much is the divergence from the teacher's scores, the rest is of the labels.
    share: Annotated[float, Field(ge=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0
    # Added to the loss: so many times the distance of the similarities of samples.
    gram: Annotated[float, Field(ge=0)] = 0.0


class Int8QuantiseSection(_Section):
    """`[quantise]` of an int8 network: epochs with rounding, from ranges found on some samples."""

    epochs: Annotated[int, Field(ge=0, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)]
    samples: Annotated[int, Field(ge=1)] = 512
    method: Literal["percentile", "mse", "minmax"] = "percentile"
    # Of weights: of all layers, or by their names; a layer that is not named has 8.
    bits: Width | dict[str, Width] | None = None
    # Weights of less than 8 bits have no zero, which is the default: one grid at every width.
    odd: bool | None = None
    # In place of `bits`: one store of weights that serves all of these, trained together.
    widths: tuple[Width, ...] | None = None
    # Of `widths`: how many times as often as each of the others a batch trains the narrowest one;
    # without it every second batch does.
    narrowest: Annotated[int, Field(ge=1)] | None = None
    # Of `widths`: 1 bit answers, and 8 where it is not sure, so that this share of the gain from 1
    # to 8 bits is kept on the samples that are held out.
    draft: Annotated[float, Field(gt=0, le=1)] | None = None
    # Share of the loss that is the distance to the softened scores of the float network, or of
    # what training starts from.
    distil: Annotated[float, Field(gt=0, le=1)] | None = None
    # Layers of less than 8 bits are normalised over each batch, as by a batch normalisation.
    normalise: bool | None = None
    # How a weight of 1 bit is trained: its sign, or the sign of its sine.
    signs: Literal["straight", "sine"] | None = None
    # In the last of the epochs, weights far from where their code changes are held.
    hold_epochs: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _drafted(self) -> Int8QuantiseSection:
        if self.draft is not None and not {1, 8} <= set(self.widths or ()):
            raise ValueError("a draft needs widths with 1 and 8 among them")
        return self


class SpikingSection(_Section):
    """`[spiking]`: how a spiking network of any shape is executed and what of it is learned."""

    steps: Annotated[int, Field(ge=1, le=1024)]
    # `direct`: a sample is a constant current. `frames`: its first axis is time, `rows` of it a
    # step. `events`, `event_counts`: frames of bits or counts, that a device gets as events.
    encoder: Literal["direct", "frames", "events", "event_counts", "poisson", "latency"] = "direct"
    rows: Annotated[int, Field(ge=1)] = 1
    # By default of neurons that spike their count, of integrators their membrane, else a sum.
    readout: Literal["spike_count", "membrane", "sum"] | None = None
    learn: tuple[Literal["leak", "current", "threshold", "delay"], ...] = ()
    # Behind layers of weights that flow into neurons which spike; folded into them at the end.
    batch_norm: bool = False
    surrogate: Literal["atan", "fast_sigmoid"] = "atan"
    slope: Annotated[float, Field(gt=0)] = 2.0
    # What a gradient is multiplied by each time that it goes back around a loop; 1 by default.
    # Over some hundred steps gradients grow without end there; with 0 they go back in time through
    # membranes alone (as in e-prop, Bellec et al., 2020).
    loop_gradient: Annotated[float, Field(ge=0, le=1)] | None = None


class PretrainSection(_Section):
    """`[pretrain]`: epochs without time, clipped ReLUs in place of neurons, then conversion."""

    epochs: Annotated[int, Field(ge=1, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)]
    # Rates are multiples of 1 / levels; give the steps for neurons without a leak.
    levels: Annotated[int, Field(ge=1, le=255)] | None = None
    # Thresholds are lowered to this percentile of a layer's rates.
    percentile: Annotated[float, Field(gt=0, le=100)] | None = None
    half: bool = True  # membranes begin at half a threshold


class CoarseSection(_Section):
    """`[coarse]`: epochs of surrogate gradients with long steps, each as long as `factor` steps.

    Events are summed over a long step, leaks and delays are those of as many steps: the phases
    behind go on with the same weights.
    """

    factor: Annotated[int, Field(ge=2, le=1024)]
    epochs: Annotated[int, Field(ge=1, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)]


class SpikingTrainSection(_Section):
    """`[train]` of `[spiking]`: surrogate gradients. AdamW, cosine decay of the rate to 0."""

    epochs: Annotated[int, Field(ge=0, le=10000)]
    batch: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    score_scale: Annotated[float, Field(gt=0)] = 1.0
    # Added to the loss: `rate_weight` times the square of what a layer's rate, in spikes a neuron
    # and step, is above `rate`.
    rate: Annotated[float, Field(gt=0, le=1)] | None = None
    rate_weight: Annotated[float, Field(gt=0)] = 10.0


Bits = Literal[8, 4, 2, "ternary", 1]


class SpikingQuantiseSection(_Section):
    """`[quantise]` of `[spiking]`: epochs in the integers of the graph."""

    epochs: Annotated[int, Field(ge=0, le=10000)]
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    # Of weights: of all layers, or by their names; a layer that is not named has 8.
    bits: Bits | dict[str, Bits] = 8


# Steps: half a step away, a narrower Gaussian is 0 in float32.
NARROWEST = 0.05


class DelaysSection(_Section):
    """`[delays]`: how delays are learned; they are whole steps in the last quarter of `[train]`."""

    most: Annotated[int, Field(ge=1, le=255)] = 31
    # Standard deviation of a spike's arrival in the first epoch, in steps; it shrinks to `narrow`.
    width: Annotated[float, Field(ge=NARROWEST)] = 4.0
    narrow: Annotated[float, Field(ge=NARROWEST)] = 0.4
    learning_rate: Annotated[float, Field(gt=0)] = 0.1  # steps
    # Share of each layer's delays that are kept: the longest.
    kept: Annotated[float, Field(gt=0, le=1)] | None = None
    # Of RAM, that delays a synapse keep at most: where rings of sums take more, layers look back.
    ram_bytes: Annotated[int, Field(ge=1)] | None = None


class RidgeSection(_Section):
    """`[ridge]`: of a reservoir, whose readout alone is trained: see `train.spiking.ridge`."""

    # In mean variances of what is read; the best of five-fold cross-validation is taken.
    penalties: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (
        1e-5, 1e-4, 1e-3, 1e-2, 1e-1,
    )  # fmt: skip


class PackageSection(_Section):
    """`[package]`: how many test samples go with the network; accuracies are of all of them."""

    vectors: Annotated[int, Field(ge=1)] = 200


class _Common(_Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = 0
    # In place of a model.py of its own: that of this model, one that comes with Spikelet or a
    # folder as seen from this one.
    model: str | None = None
    # The function of model.py that builds the network, in place of `build`.
    build: str | None = None
    # The model, named in the same way, whose `augment` is used.
    augment: str | None = None
    data: DataSection


class Int8Recipe(_Common):
    """The recipe.toml of an int8 network, checked: one without `[network]`."""

    train: Int8TrainSection
    deform: DeformSection | None = None
    teacher: TeacherSection | None = None
    quantise: Int8QuantiseSection
    package: PackageSection = PackageSection()

    @model_validator(mode="after")
    def _held_out(self) -> Int8Recipe:
        if self.quantise.draft is not None and self.data.held_out is None:
            raise ValueError("a draft needs samples that are held out: [data] held_out = 0.1")
        return self


class Recipe(_Common):
    """The recipe.toml of a spiking network, checked."""

    network: NetworkSection
    train: TrainSection
    quantise: QuantiseSection


class SpikingRecipe(_Common):
    """The recipe.toml of a spiking network of any shape, checked: one with `[spiking]`."""

    spiking: SpikingSection
    pretrain: PretrainSection | None = None
    coarse: CoarseSection | None = None
    ridge: RidgeSection | None = None
    train: SpikingTrainSection = SpikingTrainSection(epochs=0)
    quantise: SpikingQuantiseSection = SpikingQuantiseSection(epochs=0)
    delays: DelaysSection = DelaysSection()
    deform: DeformSection | None = None
    teacher: TeacherSection | None = None
    package: PackageSection = PackageSection()

    @model_validator(mode="after")
    def _without_time(self) -> SpikingRecipe:
        if self.pretrain is not None and self.spiking.encoder != "direct":
            raise ValueError('[pretrain] is without time: it needs encoder = "direct"')
        parts = ("pretrain", "coarse", "train", "quantise", "delays", "deform", "teacher")
        asked = [part for part in parts
                 if getattr(self, part) != type(self).model_fields[part].default]  # fmt: skip
        if self.ridge is not None and (asked or self.spiking.learn):
            raise ValueError("[ridge] trains the readout alone: leave out the other phases")
        if self.ridge is None and not {"train", "quantise"} <= self.model_fields_set:
            raise ValueError("sections [train] and [quantise], or [ridge], are required")
        return self

    @model_validator(mode="after")
    def _taught(self) -> SpikingRecipe:
        if self.teacher is not None and self.teacher.gram:
            raise ValueError("[teacher] gram compares what the last layers read, not spikes")
        if self.teacher is not None and self.coarse is not None:
            raise ValueError("[teacher] sees samples as they are: not with [coarse]")
        return self

    @model_validator(mode="after")
    def _coarse(self) -> SpikingRecipe:
        how, coarse = self.spiking, self.coarse
        if coarse is None:
            return self
        if how.encoder not in ("events", "event_counts"):
            raise ValueError('[coarse] sums events: it needs encoder = "events" or "event_counts"')
        if how.batch_norm:
            raise ValueError("[coarse] changes the statistics of a step: not with batch_norm")
        if how.steps % coarse.factor:
            raise ValueError(f"{how.steps} steps are no multiple of the factor {coarse.factor}")
        return self


def load_recipe(model_dir: Path) -> Recipe | Int8Recipe | SpikingRecipe:
    """Read MODEL_DIR/recipe.toml; raises RecipeError with every fault in it.

    With a section `[spiking]` it is a spiking network's of any shape, with `[network]` that of a
    chain of snnTorch's layers, without either an int8 network's.
    """
    path = model_dir / "recipe.toml"
    if not path.is_file():
        raise RecipeError(
            f"recipe {path}: no such file",
            "a wrong folder" if model_dir.is_dir() else f"{model_dir} is not a folder",
            "`spikelet models` lists those that come with it",
        )
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        if "spiking" in table:
            return SpikingRecipe.model_validate(table)
        kind = Recipe if "network" in table else Int8Recipe
        return kind.model_validate(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise RecipeError(f"recipe {path}: not TOML ({e})", next="mend the line it names") from e
    except ValidationError as e:
        faults = "; ".join(_fault(error) for error in e.errors())
        raise RecipeError(
            f"recipe {path}: {faults}",
            "a misspelt key, or a value out of range",
            "models/digits_snn/recipe.toml and docs/spiking-training.md have every section of a "
            "spiking network, "
            "models/fashion_cnn/recipe.toml those of an int8 one",
        ) from e


def _fault(error: Any) -> str:
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{where} is not a known key"
    if error["type"] == "missing":
        return f"{where} is missing"
    return f"{where} = {error['input']!r}: {error['msg']}"


def load_model(model_dir: Path, name: str = "build") -> Callable[[int, int], nn.Sequential]:
    """`build(inputs, classes) -> nn.Sequential` of MODEL_DIR/model.py, which is executed.

    `name` is the function's.
    """
    path = model_dir / "model.py"
    signature = f"{name}(inputs: int, classes: int) -> nn.Sequential"
    build = _function(_execute(path), path, signature)

    def build_checked(inputs: int, classes: int) -> nn.Sequential:
        network = _call(path, build, inputs, classes)
        if not isinstance(network, nn.Sequential):
            raise RecipeError(
                f"model {path}: build returned a {type(network).__name__}",
                next="return an nn.Sequential",
            )
        return network

    return build_checked


Augment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class SpikingModel:
    """What model.py of a spiking network of any shape defines.

    Attributes:
        build: `build(shape, classes)` returns a SpikingNetwork, or a program that
            `frontends.spiking.program` reads, for a step that sees `shape`, channels first.
        augment: `augment(x, y) -> (x, y)` for a training batch, or None; x are real values in the
            data set's shape, channels first, time before height: (N, C, L), (N, C, H, W) or
            (N, C, T, H, W); y are labels (N,) int64 and may become probabilities (N, classes).
    """

    build: Callable[[tuple[int, ...], int], Any]
    augment: Augment | None


def load_spiking_model(model_dir: Path, name: str = "build") -> SpikingModel:
    """MODEL_DIR/model.py of a spiking network of any shape, which is executed.

    `name` is that of the function that builds it.
    """
    path = model_dir / "model.py"
    module = _execute(path)
    signature = f"{name}(shape: tuple[int, ...], classes: int) -> SpikingNetwork or nn.Module"
    build = _function(module, path, signature)

    def build_checked(shape: tuple[int, ...], classes: int) -> Any:
        return _call(path, build, shape, classes)

    return SpikingModel(build_checked, getattr(module, "augment", None))


@dataclass(frozen=True)
class Int8Model:
    """What model.py of an int8 network defines.

    Attributes:
        build: `build(shape, classes) -> nn.Module` for samples of that shape, channels last, which
            the module gets channels first: (N, C, H, W) or (N, C, L), scores (N, classes).
        augment: `augment(x, y) -> (x, y)` for a training batch, or None; y are labels (N,) int64
            and may become probabilities (N, classes).
    """

    build: Callable[[tuple[int, ...], int], nn.Module]
    augment: Augment | None


def load_int8_model(model_dir: Path, name: str = "build") -> Int8Model:
    """MODEL_DIR/model.py of an int8 network, which is executed.

    `name` is that of the function that builds it.
    """
    path = model_dir / "model.py"
    module = _execute(path)
    signature = f"{name}(shape: tuple[int, ...], classes: int) -> nn.Module"
    build = _function(module, path, signature)

    def build_checked(shape: tuple[int, ...], classes: int) -> nn.Module:
        network = _call(path, build, shape, classes)
        if not isinstance(network, nn.Module):
            raise RecipeError(
                f"model {path}: build returned a {type(network).__name__}",
                next="return an nn.Module",
            )
        return network

    return Int8Model(build_checked, getattr(module, "augment", None))


def load_augment(model_dir: Path) -> Augment:
    """`augment` of MODEL_DIR/model.py, which is executed."""
    path = model_dir / "model.py"
    signature = "augment(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]"
    augment: Augment = _function(_execute(path), path, signature)
    return augment


def _execute(path: Path) -> ModuleType:
    """A recipe's model.py."""
    spec = importlib.util.spec_from_file_location(f"spikelet_recipe_{path.parent.name}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise RecipeError(f"model {path}: no such file", next="write build(inputs, classes) there")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise RecipeError(
            f"model {path}: {type(e).__name__}: {e}", "an error in that file", "mend it"
        ) from e
    return module


def _function(module: ModuleType, path: Path, signature: str) -> Callable[..., Any]:
    name = signature.partition("(")[0]
    build = getattr(module, name, None)
    if not callable(build):
        raise RecipeError(f"model {path}: it has no function {name}", next=f"define {signature}")
    function: Callable[..., Any] = build
    return function


def _call(path: Path, build: Callable[..., Any], shape: Any, classes: int) -> Any:
    try:
        return build(shape, classes)
    except Exception as e:
        raise RecipeError(
            f"model {path}: build({shape}, {classes}) failed, {type(e).__name__}: {e}",
            "an error in that file",
            "mend it",
        ) from e
