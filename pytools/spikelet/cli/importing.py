"""A model file of another framework becomes a package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spikelet.api import Package
from spikelet.cli.places import check_file
from spikelet.cli.render import (
    accuracy_rows,
    arena_row,
    layer_table,
    origin_rows,
    simplified_table,
    spiking_tables,
)
from spikelet.cli.terminal import facts, number, table
from spikelet.errors import UsageError
from spikelet.frontends.model_file import import_file
from spikelet.frontends.nir.options import NirOptions
from spikelet.quantise import METHODS, Options
from spikelet.refusal import shorten
from spikelet.samples import GivenArrays

LONGEST_NAME = 48  # of a tensor of the source; TensorFlow's converter joins all that it fuses


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """What `spikelet import` is asked for.

    Attributes:
        file: the model.
        calibrate: samples, an .npz file.
        ranges, equalise, bias_correction: how a float model is quantised; None for the default.
        bits: of a float model's weights: `4`, or of layers by name `first=8,second=2`.
        frames: runs that make one inference of a network with a state.
        class_names: of the classes, with commas between them; or a file with one a line.
        out: the package's file.
        executed: of a .nir network, fields of `NirOptions`; None where nothing is said.

    Raises:
        UsageError: an unknown method, or a package that would overwrite what is read.
    """

    file: Path
    calibrate: Path | None = None
    ranges: str | None = None
    equalise: bool | None = None
    bias_correction: bool | None = None
    bits: str | None = None
    frames: int | None = None
    class_names: str | None = None
    out: Path | None = None
    executed: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.out is not None:
            check_file(self.out)
            names = None if self.class_names is None else Path(self.class_names)
            for read in (self.file, self.calibrate, names):
                if read is not None and self.out.resolve() == read.resolve():
                    raise UsageError(
                        f"-o {self.out}: is a file that is read", next="give the package a name"
                    )
        if self.ranges is not None and self.ranges not in METHODS:
            raise UsageError(
                f"--ranges {self.ranges}: expected {', '.join(METHODS)}", next="choose one of them"
            )

    @property
    def quantisation(self) -> Options | None:
        """Of a float model; None where nothing is asked for."""
        if (self.ranges, self.equalise, self.bias_correction, self.bits) == (None,) * 4:
            return None
        return Options(
            method=self.ranges or Options().method,
            equalise=self.equalise,
            correct=self.bias_correction is not False,
            bits=8 if self.bits is None else _bits(self.bits),
        )

    @property
    def options(self) -> Options | NirOptions | None:
        """Of what the file is; None where nothing is asked for."""
        said = {name: value for name, value in self.executed.items() if value is not None}
        if not said:
            return self.quantisation
        if self.quantisation is not None:
            raise UsageError(
                f"--{next(iter(said))} goes with .nir files, options of quantisation with others",
                next="leave out what is not for the model",
            )
        return NirOptions(**said)

    def package(self) -> Package:
        """The package that the model becomes; raises as `import_file`."""
        path = self.calibrate
        data = None if path is None else GivenArrays.of_file(path, "--calibrate")
        made = Package.of(import_file(self.file, data, self.options, self.frames))
        return made if (names := self._names()) is None else made.name_classes(names)

    def _names(self) -> list[str] | None:
        text = self.class_names
        if text is None:
            return None
        if "," in text:
            return [name.strip() for name in text.split(",")]
        try:
            return [line.strip() for line in Path(text).read_text("utf-8").strip().splitlines()]
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--class-names {text}: {error}",
                "neither names with commas between them nor a file of one name a line",
                "for instance --class-names left,right,up",
            ) from error


def _bits(text: str) -> int | dict[str, int]:
    """`4`, or `conv=4,scores=8`; raises UsageError."""
    if text.isdecimal():
        return int(text)
    parts = [part.rpartition("=") for part in text.split(",")]
    if not all(name and width.isdecimal() for name, _, width in parts):
        raise UsageError(
            f"--bits {text}: expected a width, or widths of layers",
            next="write --bits 4, or --bits conv1=4,fc=2; other layers then have 8",
        )
    return {name: int(width) for name, _, width in parts}


def render_import(result: dict[str, Any]) -> list[Any]:
    """The layers, what was left out, the drift and the package."""
    manifest = result["manifest"]
    shown: list[Any] = [layer_table(result["layers"]), ""]
    if "simplified" in manifest:
        shown += [simplified_table(manifest["simplified"]), ""]
    if "layer_drift" in manifest:
        shown += [_drift(manifest["layer_drift"], manifest.get("float", "")), ""]
    if (convention := manifest.get("convention")) is not None:
        shown += spiking_tables(result["states"], manifest.get("spike_agreement", []))
        shown += [_choices(convention), ""]
    return [
        *shown,
        facts(
            result["package"],
            {
                "model": result["model"],
                "frames" if convention is None else "steps": result["steps"]
                if result["steps"] > 1
                else None,
                **origin_rows(manifest),
                **accuracy_rows(manifest),
                "vectors": manifest["vectors"],
                "constants": number(result["weight_bytes"], "B"),
                "arena": arena_row(result),
                "sha256": result["package_sha256"],
            },
        ),
    ]


def _choices(convention: Mapping[str, Any]) -> Any:
    """How the network is executed, and what each other choice would change."""
    said = ", ".join(f"{k} {v}" for k, v in convention.items() if k != "choices")
    made = table(
        f"executed with {said}; spikes that differ with another choice",
        "switch", "in place of", "other", ">differing", ">of spikes",
    )  # fmt: skip
    for row in convention["choices"]:
        count = row["differing"]
        shown = "a step too long" if count is None else number(count)
        made.add_row(row["switch"], row["chosen"], row["other"], shown, number(row["spikes"]))
    return made


def _drift(rows: list[dict[str, Any]], by: str) -> Any:
    """How far the graph is from the network as it was given, and who executed that."""
    made = table(
        f"int8 less float ({by}), by tensor", "tensor", "in the source", ">SNR dB", ">cosine"
    )
    for row in rows:
        ratio = "equal" if row["snr_db"] is None else f"{row['snr_db']:.1f}"
        made.add_row(
            row["tensor"], shorten(row["layer"], LONGEST_NAME), ratio, f"{row['cosine']:.5f}"
        )
    return made
