"""The figures of a session that learned, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from spikelet.graph import Array
from spikelet.learn.choices import describe_options
from spikelet.learn.continual.baselines import BASELINES, baseline
from spikelet.learn.continual.metrics import continual, lifelong
from spikelet.learn.continual.protocol import Tuned, experts
from spikelet.learn.continual.streams import Course, stream
from spikelet.run.learner import DeviceLearner
from spikelet.run.learning.learn_options import LearnOptions
from spikelet.run.learning.learning_record import BlockEnd, Evaluated, Played, log_of
from spikelet.run.learning.lesson import Lesson
from spikelet.run.session import TICKS, Speed


def session_figures(played: Played, device: DeviceLearner, speed: Speed) -> dict[str, Any]:
    """What every command that runs a session says of it with --json."""
    hello, stats, steps = device.device.hello, device.device.stats, played.steps
    said = TICKS[hello.tick_unit] if hello.tick_unit < len(TICKS) else "none"
    unit, per_tick = speed.unit(hello.tick_unit)
    ticks = per_tick * float(np.mean([s.ticks for s in steps]))
    more = per_tick * float(np.mean([s.learn_ticks for s in steps]))
    names = {"instruction": "instructions", "cycle": "cycles", "us": "microseconds"}
    correct = sum(s.prediction == s.label for s in steps)
    ends = [line for line in played.lines if isinstance(line, BlockEnd)]
    return {
        "samples": len(steps),
        "correct": correct,
        "accuracy": correct / len(steps),
        "golden_accuracy": correct / len(steps) if not played.mismatches else None,
        "mismatches": played.mismatches,
        "differences": [{"text": text} for text in played.differences],
        "saturations": sum(s.saturations for s in steps),
        **{f"{n}_per_inference": ticks if u == unit else None for u, n in names.items()},
        **{f"{n}_per_learning_step": more if u == unit else None for u, n in names.items()},
        "instructions_per_tick": per_tick if unit == "instruction" else None,
        "flash_written_bytes": max((line.written_bytes for line in ends), default=0),
        "flash_erased_pages": max((line.erased_pages for line in ends), default=0),
        "flash_worn": max((line.worn for line in ends), default=0),
        "stored": played.stored,
        "stack_bytes": max((line.stack_bytes for line in ends), default=0) or None,
        "link": {
            "frames": stats.frames,
            "bad_frames": stats.bad_frames,
            "retries": stats.retries,
            "goodput_bytes_per_s": round(stats.goodput, 1),
            "line": device.device.line_health(),
        },
        "device": {
            "isa": hello.isa,
            "firmware": hello.firmware,
            "boot_id": hello.boot_id,
            "unique_id": hello.unique_id.hex(),
            "tick": said,
            "self_test": hello.self_test.name.lower(),
        },
        "complete": True,
    }


def learning_figures(
    lesson: Lesson,
    options: LearnOptions,
    course: Course,
    played: Played,
    tuned: Tuned | None,
    state: Mapping[str, Array] | None,
) -> dict[str, Any]:
    """What was learned, from the device's record; the same whatever the board."""
    log = log_of(played.lines)
    ends = [line for line in played.lines if isinstance(line, BlockEnd)]
    steps = played.steps
    commit_bytes = lesson.needs.commit_bytes * sum(end.committed for end in ends)
    measures = continual(log)
    return {
        "learner": type(lesson.learner).NAME,
        "options": describe_options(lesson.learner),
        "stream": options.stream,
        "stream_options": describe_options(stream(options.stream)),
        "features": lesson.where.features,
        "classes": lesson.where.classes,
        "tasks": course.tasks,
        "blocks": [{"task": b.task, "samples": len(b.samples)} for b in course.blocks],
        "evaluation_samples": [len(pool) for pool in course.evaluation],
        "needs": lesson.needs.as_dict(),
        "plan": [asdict(layer) for layer in lesson.plan.layers],
        **measures,
        **lifelong(log, experts(lesson.graph, course, state)),
        "curves": [
            (np.array(line.correct) / np.array(line.samples)).tolist()
            for line in played.lines
            if isinstance(line, Evaluated)
        ],
        "skipped": sum(s.skipped for s in steps),
        "health": ends[-1].health,
        "crc": ends[-1].crc,
        "written_to_flash_bytes": commit_bytes,
        "tuned": None if tuned is None else _tuning(tuned, measures["acc"]),
        "baselines": [
            asdict(baseline(name, lesson.backbone, lesson.where, course))
            for name in (BASELINES if options.baselines else ())
        ],
    }


def _tuning(tuned: Tuned, acc: float) -> dict[str, Any]:
    return {
        "on": tuned.source,
        "sha256": tuned.sha256,
        "stream": tuned.stream,
        "chosen": tuned.chosen,
        "trials": tuned.trials,
        "acc_tuned": tuned.acc,
        "acc_transferred": acc,
    }
