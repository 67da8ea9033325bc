"""What a package holds: for JSON, and as a person is shown it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import RenderableType

from spikelet.cli.render import (
    accuracy_rows,
    arena_row,
    general_kernels,
    layer_table,
    origin_rows,
    spiking_tables,
    width_table,
)
from spikelet.cli.terminal import Fitted, facts, number, percent, table
from spikelet.run.overview import Summary


def package_summary(summary: Summary, path: Path) -> dict[str, Any]:
    """A package's facts and its file, for JSON."""
    return {"package": str(path), "bytes": path.stat().st_size, **summary.facts}


def _about(result: dict[str, Any]) -> dict[str, object]:
    """What is known of its accuracy; one that learns has no head before it has learned."""
    manifest = result["manifest"]
    learning = manifest.get("learning")
    if learning is not None:
        options = ",".join(f"{name}={value}" for name, value in learning["options"].items())
        return {
            "learner": learning["learner"] + (f",{options}" if options else ""),
            "reads": learning["features"],
            "classes": learning["classes"],
        }
    return {
        **accuracy_rows(manifest),
        "labels as the module's": percent(manifest.get("label_agreement")),
        "tested on": manifest.get("test_part"),
        "vectors": manifest.get("vectors") or f"{result['samples']} samples",
    }


def _data_arrays(result: dict[str, Any]) -> str:
    """Arrays of samples as `spikelet run --data` takes them."""
    layouts = result["manifest"].get("layouts") or {}
    given = [t for t in result["inputs"] if t["name"] != "seed"]
    shapes = [layouts.get(t["name"], t)["shape"] for t in given]
    names = ["x"] if len(given) == 1 else [t["name"] for t in given]
    return ", ".join(
        f"{name} (N, {', '.join(map(str, shape))})"
        for name, shape in zip(names, shapes, strict=True)
    )


def _values(tensor: dict[str, Any]) -> str:
    if tensor["choices"]:
        return " or ".join(map(str, tensor["choices"]))
    reals = tensor["real_values"]
    return "" if reals is None else "{:.4g} to {:.4g}".format(*reals)


def render_package(result: dict[str, Any]) -> list[RenderableType]:
    """The package's facts, its layers, and its inputs and outputs."""
    manifest = result["manifest"]
    tensors = table(
        "inputs and outputs",
        "tensor",
        "",
        "type",
        "shape",
        ">bytes",
        ">scale",
        ">zero point",
        ">real values",
    )
    for way in ("inputs", "outputs"):
        for t in result[way]:
            tensors.add_row(
                t["name"], way[:-1], t["dtype"], "x".join(map(str, t["shape"])),
                str(t["bytes"]), f"{t['scale']:g}", str(t["zero_point"]),
                _values(t),
            )  # fmt: skip
    versions = manifest.get("versions") or {}
    return [
        facts(
            result["model"] + (f", {result['steps']} time steps" if result["steps"] > 1 else ""),
            {
                **origin_rows(manifest),
                **_about(result),
                "--data takes": _data_arrays(result),
                "constants": number(result["weight_bytes"], "B"),
                "arena": arena_row(result),
                "seed": manifest.get("seed"),
                "made by": ", ".join(f"{k} {v}" for k, v in versions.items()) or None,
                "sha256": result["package_sha256"],
            },
        ),
        "",
        layer_table(result["layers"], result.get("tick", "none")),
        *width_table(result["widths"], result.get("tick", "none")),
        *general_kernels(result["layers"], result["target"]),
        "",
        *spiking_tables(result["states"], manifest.get("spike_agreement", [])),
        Fitted(tensors, ("zero point", "scale", "bytes")),
    ]
