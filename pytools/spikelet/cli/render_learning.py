"""What a person is shown of a learner before it is built, and of a session that learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType

from spikelet.board import Board
from spikelet.cli.render import link_line, render_differences
from spikelet.cli.terminal import Fitted, facts, number, percent, table, verdict
from spikelet.learn.networks.training_plan import TrainingPlan, count

BARS = "▁▂▃▄▅▆▇█"


def render_plan(title: str, plan: TrainingPlan, board: Board | None = None) -> list[RenderableType]:
    """What a learner takes: its sums and, where layers are trained, each of them."""
    shown: list[RenderableType] = [facts(title, plan_rows(plan, board))]
    if plan.layers:
        made = table(
            "trained layers", "layer", "learns", ">learned B", ">flash B", ">output B", "output",
            ">MACs", ">to learn",
        )  # fmt: skip
        for row in plan.layers:
            made.add_row(*(v if isinstance(v, str) else number(v) for v in asdict(row).values()))
        shown += ["", Fitted(made, ("output", "output B", "flash B", "MACs"), ("learns",))]
    return shown


def plan_rows(plan: TrainingPlan, board: Board | None = None) -> dict[str, object]:
    """The sums of a plan."""
    needs, ram = plan.needs, None
    if board is not None and board.memory is not None:
        ram = board.memory.ram.bytes - board.memory.stack_bytes
    return {
        "learned state": number(needs.learned_bytes, "B"),
        "work RAM": number(needs.work_bytes, "B beside it, while learning"),
        "arena": f"{number(needs.arena_bytes, 'B')}, {number(needs.backbone_bytes)} of it for "
        "prediction" + (f"; the board has {number(ram)} but for the stack" if ram else ""),
        "initial values": number(needs.initial_bytes, "B of flash"),
        "a commit": plan.rows()["a commit"],
        "a learning step": plan.rows()["a learning step"],
    }


def render_learning(result: Mapping[str, Any]) -> list[RenderableType]:
    """The summary of a session that learned."""
    learning = result["learning"]
    mismatches = verdict(result["mismatches"])
    mismatches.append(
        f"   (outputs of {result['samples']} steps and of all evaluations, "
        f"the learned state after {len(learning['blocks'])} blocks)",
        "dim",
    )
    options = ",".join(f"{k}={v}" for k, v in learning["options"].items())
    unit = next(
        (
            name
            for name in ("instructions", "cycles", "microseconds")
            if result[f"{name}_per_inference"] is not None
        ),
        None,
    )
    tuned = learning["tuned"]
    rows: dict[str, object] = {
        "mismatches": mismatches,
        "learner": learning["learner"] + (f",{options}" if options else ""),
        "stream": learning["stream"],
        "samples": f"{number(result['samples'])} learned, {percent(result['accuracy'])} of them "
        "predicted before",
        "ACC": percent(learning["acc"]),
        "BWT": _points(learning["bwt"]),
        "FWT": _points(learning["fwt"]),
        "maintenance": _plain(learning["performance_maintenance"], " points"),
        "against an expert": _against(learning),
        "skipped": f"{learning['skipped']} steps" if learning["skipped"] else None,
        "health": ", ".join(f"{k} {v:g}" for k, v in learning["health"].items()) or None,
        "tuned on": None
        if tuned is None
        else f"{tuned['on']}: ACC {percent(tuned['acc_tuned'])} there",
    }
    if unit is not None:
        rows["an inference"] = number(result[f"{unit}_per_inference"], unit)
        rows["a learning step"] = number(result[f"{unit}_per_learning_step"], f"{unit} more")
    rows |= {
        "flash": number(result["flash_bytes"], "B"),
        "RAM, static": number(result["ram_bytes"], "B"),
        "stack, measured": number(result["stack_bytes"], "B"),
        "written to flash": f"{number(result['flash_written_bytes'], 'B')}, "
        f"{count(result['flash_erased_pages'], 'page')} erased{_worn(result.get('flash_worn'))}"
        if result["stored"]
        else "nothing: the board has no storage, what was learned is lost without power",
        "link": link_line(result["link"]),
        "package": result["package_sha256"],
    }
    shown: list[RenderableType] = [
        facts(f"{result['model']} on {result['board']} ({result['machine']}), learning", rows),
        "",
        _tasks(learning),
    ]
    if learning["baselines"]:
        shown += ["", _baselines(learning)]
    if result["differences"]:
        shown.append(render_differences(result["differences"]))
    return shown


def _worn(erases: int | None) -> str:
    return f"; the most worn one {count(erases, 'time')} in all" if erases else ""


def _tasks(learning: Mapping[str, Any]) -> RenderableType:
    made = table(
        "accuracy by task", "task", ">learned", ">before", ">when learned", ">at the end", "curve"
    )
    curves, blocks = learning["curves"], learning["blocks"]
    for task, name in enumerate(learning["tasks"]):
        of = [i for i, block in enumerate(blocks) if block["task"] == task]
        curve = [row[task] for row in curves]
        made.add_row(
            name,
            number(sum(blocks[i]["samples"] for i in of)),
            percent(curve[0]),
            percent(curve[of[-1] + 1]) if of else "",
            percent(curve[-1]),
            "".join(BARS[min(int(value * len(BARS)), len(BARS) - 1)] for value in curve),
        )
    return Fitted(made, ("learned", "before"))


def _baselines(learning: Mapping[str, Any]) -> RenderableType:
    made = table("beside it, on the same features", "learner", ">ACC", ">BWT", ">FWT", "what")
    rows = [
        {"name": learning["learner"], "what": "on the device", **learning},
        *learning["baselines"],
    ]
    for row in rows:
        made.add_row(
            row["name"], percent(row["acc"]), _points(row["bwt"]), _points(row["fwt"]), row["what"]
        )
    return Fitted(made, ("FWT",), ("what",))


def _points(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:+.2f} points"


def _plain(value: float | None, unit: str = "") -> str | None:
    return None if value is None else f"{value:+.2f}{unit}"


def _against(learning: Mapping[str, Any]) -> str | None:
    if learning["relative_performance"] is None:
        return None
    efficiency = learning["sample_efficiency"]
    return f"relative performance {learning['relative_performance']:.3f}" + (
        "" if efficiency is None else f", sample efficiency {efficiency:.3f}"
    )
