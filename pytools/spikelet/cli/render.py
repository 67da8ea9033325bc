"""What a person is shown of packages, images and sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from spikelet.cli.terminal import Fitted, facts, number, percent, table, verdict, without_empty
from spikelet.codegen import TITLES, totals
from spikelet.metrics import error_text
from spikelet.run.line_health import line_cause
from spikelet.text import counted

UNITS = {"none": "ticks", "instruction": "instructions", "cycle": "cycles", "us": "us"}
DIFFERENCES = 10  # that are named on the terminal
LESS_IMPORTANT = (
    "phase", "updates", "output", "operator", "kernel", "bits", "MACs", "syn. ops", "RAM B",
)  # fmt: skip


def layer_table(rows: Sequence[Mapping[str, Any]], tick: str = "none") -> Fitted:
    """Layers with shape, bits, work, flash and RAM, and ticks where they were measured."""
    made = table(
        "layers", "layer", "operator", "kernel", "phase", "output", ">bits", ">MACs", ">syn. ops",
        ">updates", f">{UNITS[tick]}", ">flash B", ">RAM B",
    )  # fmt: skip
    keys = ("weight_bits", "macs", "synaptic_ops", "updates", "ticks", "flash_bytes")
    for row in rows:
        made.add_row(
            *(str(row[key]) for key in ("name", "op", "kernel", "phase", "output")),
            *((number(row[key]) or "") if row.get(key) else "" for key in keys),
            number(row["ram_bytes"]),
        )
    made.add_section()
    for run, sums in totals(rows).items():
        cells = [number(sums[key]) if key in sums else "" for key in keys[1:]]
        made.add_row(TITLES[run], "", "", "", "", "", *cells, "", style="bold")
    return Fitted(without_empty(made), LESS_IMPORTANT)


def width_table(rows: Sequence[Mapping[str, Any]], tick: str = "none") -> list[RenderableType]:
    """What each width of a network takes; nothing of one that has but one."""
    if not rows:
        return []
    made = table(
        "at each width (input effort.bits)", ">bits", ">MACs", f">{UNITS[tick]}",
        ">constants read B", ">of them in no wider one B",
    )  # fmt: skip
    keys = ("bits", "macs", "ticks", "reads_bytes", "flash_bytes")
    for row in rows:
        made.add_row(*("" if row[key] is None else number(row[key]) for key in keys))
    return ["", without_empty(made)]


def general_kernels(rows: Sequence[Mapping[str, Any]], where: str) -> list[RenderableType]:
    """The layers that do not have the fastest kernel of a target, and why."""
    slow = [row for row in rows if row.get("general")]
    if not slow:
        return []
    made = table(f"not the fastest kernel {where}", "layer", "kernel", "because")
    for row in slow:
        made.add_row(row["name"], row["kernel"], row["general"])
    return ["", made]


def simplified_table(result: Mapping[str, Any]) -> Fitted:
    """What an import left out because no output depends on it."""
    made = table(
        "left out: no output depends on it", "layer", ">channels", ">constant", ">kept",
        ">MACs", ">kept", ">weights", ">kept",
    )  # fmt: skip
    for row in result["layers"]:
        work = [number(value) for key in ("macs", "weights") for value in row[key]]
        made.add_row(
            row["name"], str(row["channels"]), str(row["constant"]), str(row["kept"]), *work
        )
    made.add_section()
    totals = [number(value) for key in ("macs", "weights") for value in result[key]]
    made.add_row("the network", "", "", "", *totals, style="bold")
    return Fitted(made, ("constant",))


def spiking_tables(
    states: Sequence[Mapping[str, Any]], agreement: Sequence[Mapping[str, Any]]
) -> list[RenderableType]:
    """State of the neurons and its cost; how far golden's spikes are from the float module's."""
    shown: list[RenderableType] = []
    if states:
        made = table(
            "state of the neurons", "layer", ">neurons", "membrane", ">fraction bits",
            ">leak bits", ">RAM B", ">instr. a step, RV32", ">M4",
        )  # fmt: skip
        for row in states:
            cost = row["instructions"]
            made.add_row(
                row["layer"], number(row["neurons"]), row["membrane"], str(row["fraction_bits"]),
                str(row["leak_bits"]), number(row["ram_bytes"]), number(cost.get("rv32")),
                number(cost.get("m4")),
            )  # fmt: skip
        shown += [Fitted(made, ("neurons", "instr. a step, RV32", "M4")), ""]
    if agreement:
        made = table(
            "golden against the float module", "layer", ">its spikes", ">differ", ">share",
            ">by weights alone",
        )  # fmt: skip
        for row in agreement:
            made.add_row(
                row["layer"], number(row.get("spikes")) or "scores", number(row.get("differing")),
                percent(row["share"]), percent(row["weights_share"]),
            )  # fmt: skip
        shown += [Fitted(made, ("its spikes",)), ""]
    return shown


def accuracy_rows(manifest: Mapping[str, Any]) -> dict[str, object]:
    """What the package says of itself."""
    drift = manifest.get("drift")
    return {
        "accuracy, float": percent(manifest.get("float_accuracy")),
        "accuracy, integer": percent(manifest.get("integer_accuracy")),
        "drift": None if drift is None else f"{100 * drift:+.2f} points",
        "error, float": error_text(manifest.get("float_error")),
        "error, integer": error_text(manifest.get("integer_error")),
    }


def origin_rows(manifest: Mapping[str, Any]) -> dict[str, object]:
    """The model file that a package was made of, and how that was quantised."""
    source, settings = manifest.get("source"), manifest.get("quantisation")
    quantised = None
    if settings is not None:
        chosen = {True: "", False: "no "}
        quantised = (
            f"{settings['ranges']} ranges, {chosen[settings['equalised']]}equalisation, "
            f"{chosen[settings['bias_correction']]}bias correction"
        )
    return {
        "source": source and f"{source}, SHA-256 {manifest.get('source_sha256') or 'not noted'}",
        "calibrated on": manifest.get("calibration"),
        "quantised with": quantised,
    }


def arena_row(result: Mapping[str, Any]) -> str:
    """The arena, and how far it is from the least that is possible."""
    size, bound = result["arena_bytes"], result["arena_bound_bytes"]
    above = percent(size / bound - 1)
    return f"{number(size, 'B')}   (no plan takes less than {number(bound)}: {above} above)"


def build_rows(build: Mapping[str, Any]) -> dict[str, object]:
    """Sizes of an image."""
    memory = build.get("memory") or {}
    return {
        "flash": _of(build.get("flash_bytes"), memory.get("flash_bytes")),
        "  weights": number(build.get("weight_bytes"), "B"),
        "  code": number(build.get("code_bytes"), "B"),
        "  golden samples": _self_test(build.get("self_test_bytes")),
        "RAM, static": _of(build.get("ram_bytes"), memory.get("ram_bytes")),
        "  arena": arena_row(build) if build.get("arena_bound_bytes") else None,
        "stack, at most": _of(build.get("stack_bound_bytes"), memory.get("stack_reserved_bytes")),
    }


def _self_test(samples: int | None) -> str | None:
    """What the self-test takes of the code's bytes."""
    return f"{number(samples, 'B')}, of its self-test" if samples else None


def _of(value: int | None, limit: int | None) -> str | None:
    text = number(value, "B")
    return f"{text} of {number(limit)}" if text and limit else text


def render_session(result: Mapping[str, Any]) -> list[RenderableType]:
    """The summary of a run."""
    link = result["link"]
    samples, total = result["samples"], result.get("total", result["samples"])
    compared = "every layer in every step" if result.get("layers") is True else (
        "outputs and final states"
    )  # fmt: skip
    mismatches = verdict(result["mismatches"])
    mismatches.append(f"   ({compared}, {counted(samples, 'sample')})", "dim")
    accuracy = percent(result["accuracy"])
    if accuracy:
        accuracy += f"   ({result['correct']} correct)"
    golden = percent(result.get("golden_accuracy"))
    traced = (result.get("build") or {}).get("trace")
    unit = "B   (trace build; a release image takes less)" if traced else "B"
    shown: list[RenderableType] = [
        facts(
            f"{result['model']} on {result['board']} ({result['machine']})",
            {
                "mismatches": mismatches,
                "weights exercised": weights_exercised(result),
                "samples": f"{samples} of {total}",
                "accuracy, device": accuracy,
                "accuracy, golden": golden,
                "error, device": error_text(result.get("error")),
                "saturations": result["saturations"],
                "steps, mean": number(result.get("mean_steps"), f"of {result['steps']}", digits=2),
                "events": events_line(result.get("events")),
                "longest step": number((result.get("events") or {}).get("most_a_step")),
                "real time": real_time(result.get("events")),
                "instructions": number(result["instructions_per_inference"], in_steps(result))
                or (
                    "not counted on a trace build: run without --layers, or bench"
                    if traced
                    else None
                ),
                "cycles": number(result["cycles_per_inference"], "an inference"),
                "time": number(result.get("microseconds_per_inference"), "us an inference"),
                "flash": number(result["flash_bytes"], unit),
                "RAM, static": number(result["ram_bytes"], unit),
                "stack, measured": number(result["stack_bytes"], "B"),
                "link": link_line(link),
                "package": result["package_sha256"],
            },
        )
    ]
    if result["differences"]:
        shown.append(render_differences(result["differences"]))
    return shown


def in_steps(result: Mapping[str, Any]) -> str:
    """What follows a count of instructions: on some boards it is one of ticks."""
    step = result.get("instructions_per_tick") or 1
    return "an inference" + (f", in steps of {number(step, digits=1)}" if step > 1 else "")


def weights_exercised(result: Mapping[str, Any]) -> str | None:
    """The share of the weights that the samples speak for."""
    share = percent(result.get("weights_exercised"))
    return f"{share} of {number(result['weights'])}" if share else None


def events_line(events: Mapping[str, Any] | None) -> str | None:
    """What became of address events, in a line."""
    if events is None:
        return None
    late, clipped = number(events["late"]), number(events["clipped"])
    return (
        f"{number(events['events'])}   ({late or 0} after the last step, {clipped or 0} met a bit "
        "that was set or a full count)"
    )


def real_time(events: Mapping[str, Any] | None) -> str | None:
    """How long the slowest recording took."""
    share = (events or {}).get("of_real_time")
    return None if share is None else f"the slowest recording took {share:.2f} of what it lasted"


def link_line(link: Mapping[str, Any]) -> str:
    """Health of the link, in a line; with the likely cause where the device counted errors."""
    line = (
        f"{number(link['frames'])} frames, {link['bad_frames']} bad, {link['retries']} retries, "
        f"{(number(link['goodput_bytes_per_s'] / 1000, 'kB/s', 1))} goodput"
    )
    cause = line_cause(link)
    return line if cause is None else f"{line}; {cause}"


def render_differences(differences: Sequence[Mapping[str, Any]]) -> Text:
    """The first elements that differ."""
    text = Text("\nfirst differences\n", "bold red")
    for difference in differences[:DIFFERENCES]:
        text.append(f"  {difference['text']}\n", "not bold default")
    more = len(differences) - DIFFERENCES
    if more > 0:
        text.append(f"  and {more} more that are named in session.json\n", "not bold dim")
    return text
