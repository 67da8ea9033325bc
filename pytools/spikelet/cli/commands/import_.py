"""`spikelet import`: a model file of another framework becomes a package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikelet.cli import loading
from spikelet.cli.options import JsonOption, PackageOutOption, application
from spikelet.cli.places import check_file, given_path

app = application()

FileArg = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A .tflite, .onnx or .nir model.",
        show_default=False,
        parser=given_path,
    ),
]
CalibrateOption = Annotated[
    Path | None,
    typer.Option(
        metavar="X.npz",
        parser=given_path,
        help="Arrays x and optionally y: the package's vectors (default: random inputs); a "
        "float model is quantised with every second sample, the others are its vectors.",
    ),
]
RangesOption = Annotated[
    str | None,
    typer.Option(
        help="Of a float model's tensors: mse, percentile or minmax. Default: mse.",
        show_default=False,
    ),
]
EqualiseOption = Annotated[
    bool | None,
    typer.Option(
        "--equalise/--no-equalise",
        help="Equalise a float model's weights across layers. Default: where it helps.",
        show_default=False,
    ),
]
BiasCorrectionOption = Annotated[
    bool | None,
    typer.Option(
        "--bias-correction/--no-bias-correction",
        help="Correct a float model's biases for what rounding does. Default: yes.",
        show_default=False,
    ),
]
BitsOption = Annotated[
    str | None,
    typer.Option(
        metavar="N|LAYER=N,...",
        show_default=False,
        help="Bits of a float model's weights: 8, 4, 2 or 1, of all layers or by name. Default: 8.",
    ),
]
FramesOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        show_default=False,
        help="Runs of a .tflite network with a state that make one inference: x becomes "
        "(samples, N, ...), the state starts anew with each sample. Default: 1.",
    ),
]


StepsOption = Annotated[
    int | None,
    typer.Option(
        metavar="T", min=1, show_default=False, help="Of a .nir network: steps of an inference."
    ),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="Of a .nir network: direct (samples as constant currents), rate or latency. "
        "Default: direct.",
    ),
]
DtOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        show_default=False,
        help="Of a .nir network, as the following: the length of a step, 1e-4 for example.",
    ),
]
ResetOption = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="What a spike does to the membrane: zero, value (to v_reset), subtract or none.",
    ),
]
TimingOption = Annotated[
    str | None,
    typer.Option(show_default=False, help="When: same_step, next_step or next_step_input_lost."),
]
CompareOption = Annotated[
    str | None,
    typer.Option(show_default=False, help="What fires: > or >= the threshold."),
]
InitialOption = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="The membrane before the first step: zero, reset (v_reset) or leak (v_leak).",
    ),
]
InputOption = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        help="What flows into IF and synapses: current, or jump (Norse). Default: current.",
    ),
]
ClassNamesOption = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,C|FILE",
        show_default=False,
        help="Names of the classes, in the order of their numbers; or a file with one a line. "
        "Predictions and reports then use them.",
    ),
]


@app.command("import")
def command(
    file: FileArg,
    calibrate: CalibrateOption = None,
    ranges: RangesOption = None,
    equalise: EqualiseOption = None,
    bias_correction: BiasCorrectionOption = None,
    bits: BitsOption = None,
    frames: FramesOption = None,
    steps: StepsOption = None,
    encoder: EncoderOption = None,
    dt: DtOption = None,
    reset: ResetOption = None,
    timing: TimingOption = None,
    compare: CompareOption = None,
    initial: InitialOption = None,
    input: InputOption = None,
    class_names: ClassNamesOption = None,
    out: PackageOutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a model file and write the package NAME.spk."""
    with loading(as_json):
        from spikelet.cli.importing import ImportOptions, render_import
        from spikelet.cli.render_package import package_summary
        from spikelet.cli.terminal import Terminal
        from spikelet.frontends.model_file import has_state
    terminal = Terminal.open(as_json)
    options = ImportOptions(
        file=file, calibrate=calibrate, ranges=ranges, equalise=equalise,
        bias_correction=bias_correction, bits=bits, frames=frames, class_names=class_names, out=out,
        executed={"steps": steps, "encoder": encoder, "dt": dt, "reset": reset, "timing": timing,
                  "compare": compare, "initial": initial, "input": input},
    )  # fmt: skip
    with terminal.err.status("importing"):
        package = options.package()
    out = out or Path(f"{package.graph.name}.spk")
    check_file(out)
    package.save(out)
    result = package_summary(package.summary(), out)
    terminal.result(result, *render_import(result))
    if frames is None and has_state(package.graph) and package.graph.steps == 1:
        terminal.note(
            "the network has a state: it starts anew with each inference, of one frame; "
            "--frames N makes an inference of N frames",
            "yellow",
        )
