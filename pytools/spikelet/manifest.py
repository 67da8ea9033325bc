"""What a package's manifest may say: what made the package, and its figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from spikelet.graph.declared import Real, Size, Words, within

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Installed = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")]
_Share = Annotated[float, within(0, 1)]
_Drift = Annotated[float, within(-1, 1)]
_Count = Annotated[int, within(0, (1 << 63) - 1)]


_DECLARED = with_config(ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))


@_DECLARED
class SpikeAgreement(TypedDict):
    """How far a layer of golden is from the float module's; without `spikes` it is of scores."""

    layer: Words
    spikes: NotRequired[_Count]
    differing: NotRequired[_Count]
    share: Real | None
    weights_share: Real | None


@_DECLARED
class RegressionError(TypedDict):
    """Mean absolute and root mean square error, in the unit of the values."""

    mae: Annotated[Real, within(0, 1e300)]
    rmse: Annotated[Real, within(0, 1e300)]


@_DECLARED
class Layout(TypedDict):
    """How an input's samples, or an output, look in the source."""

    name: NotRequired[Annotated[str, Field(max_length=4000)]]  # to be found by: as it is
    shape: Annotated[list[Size], Field(max_length=8)]
    axes: Annotated[list[Annotated[int, within(1, 8)]], Field(max_length=8)]
    dtype: Annotated[Words, Field(min_length=1, max_length=32)]


@_DECLARED
class Quantisation(TypedDict):
    """Options of a quantisation."""

    ranges: Words
    equalised: bool
    bias_correction: bool
    bits: NotRequired[int | dict[Words, int]]


@_DECLARED
class Places(TypedDict):
    """Places for the values of an adapter; see `spikelet.graph.adapted.Adapter`."""

    base_sha256: _Hash
    kind: Words
    rank: _Count
    bits: _Count
    head: bool
    ranks: NotRequired[list[_Count]]


@_DECLARED
class Learning(TypedDict):
    """A learner that was attached."""

    learner: Words
    options: dict[Words, Words | bool | int | float | None]
    features: Words
    classes: Size
    seed: NotRequired[_Count]
    backbone_sha256: NotRequired[_Hash]


@dataclass(kw_only=True)
class Manifest:
    """Entries of manifest.json but `sha256`; all may be absent.

    Attributes:
        name: of the model.
        description: of the recipe.
        created_by: program and version.
        versions: of packages that took part, by name.
        seed: of the recipe.
        recipe: as it was when the package was made.
        data: name of the data set.
        part: "test", or "validation" where options were chosen.
        test_part: which samples those are.
        classes: of the labels.
        class_names: of the classes, in order.
        image_shape: of one sample.
        samples: that the accuracies are of.
        vectors: where the package's samples come from.
        float: which network `float_accuracy` and `layer_drift` are of, or who executed it.
        float_accuracy: share of samples.
        integer_accuracy: share of samples; of several widths, at the widest.
        accuracy_by_bits: the same at each width of the weights.
        drift: integer less float accuracy.
        float_error: of a regression, `mae` and `rmse` in the unit of the first output.
        integer_error: of a regression.
        macro_f1: of float and integer network.
        recall: of each class, by network.
        layer_drift: of each layer, from the float network.
        state: precision of each neuron layer's state, and its cost.
        spike_agreement: of each neuron layer, with the float network.
        label_agreement: share of samples with the float network's label.
        layouts: how samples look in the source, by input, and results, by output.
        units: by output, the real value of one unit, of those that are not codes.
        convention: how a network of NIR is executed: dt, reset, timing, compare; and `choices`,
            spikes that differ under each other one.
        source: file that was imported.
        source_sha256: of that file.
        source_names: of tensors, by what they are called here.
        calibration: what ranges were found on.
        quantisation: its options.
        allocation: bits of layers that a budget was kept with, and what chose them.
        draft: the lead below which the wider network answers; shares of samples and accuracies on
            those that it was chosen on.
        early_exit: the leads at which a step is the last one; steps and accuracies on the samples
            that they were chosen on.
        events: how long a step is, in microseconds (`bin_us`), and pixels of a side that are one
            (`pool`).
        simplified: what was left out because no output depends on it, by layer; work and weights.
        bands: layers in bands of rows, and bands.
        learning: learner and options.
        adapter: which places for values of an adapter there are, and in which base.
        plugins: packages whose operators are in the graph, and their versions.
    """

    name: Words = ""
    description: Words = ""
    created_by: Words = ""
    versions: dict[Words, Words] | None = None
    seed: Annotated[int, within(-(1 << 63), (1 << 64) - 1)] = 0
    recipe: dict[Words, Any] | None = None
    data: Words = ""
    part: Words = ""
    test_part: Words = ""
    classes: Size | None = None
    class_names: tuple[Words, ...] | None = None
    image_shape: tuple[Size, ...] | None = None
    samples: Annotated[int, within(0, (1 << 63) - 1)] = 0
    vectors: Words = ""
    float: Words = ""
    float_accuracy: _Share | None = None
    integer_accuracy: _Share | None = None
    accuracy_by_bits: dict[Literal["8", "4", "2", "1"], _Share] | None = None
    drift: _Drift | None = None
    float_error: RegressionError | None = None
    integer_error: RegressionError | None = None
    macro_f1: dict[Words, _Share] | None = None
    recall: dict[Words, list[_Share]] | None = None
    layer_drift: tuple[dict[Words, Any], ...] | None = None
    state: tuple[dict[Words, Any], ...] | None = None
    spike_agreement: tuple[SpikeAgreement, ...] | None = None
    label_agreement: _Share | None = None
    layouts: dict[Words, Layout] | None = None
    units: dict[Words, Real] | None = None
    convention: dict[Words, Any] | None = None
    source: Words = ""
    source_sha256: _Hash | None = None
    source_names: dict[Words, Words] | None = None
    calibration: Words = ""
    quantisation: Quantisation | None = None
    allocation: dict[Words, Any] | None = None
    draft: dict[Words, Any] | None = None
    early_exit: dict[Words, Any] | None = None
    events: dict[Words, Any] | None = None
    simplified: dict[Words, Any] | None = None
    bands: dict[Words, Any] | None = None
    learning: Learning | None = None
    adapter: Places | None = None
    plugins: dict[_Installed, Words] | None = None
