"""Cycles of a core that is not there, from the instructions executed and published timings.

`execute` runs the model of an image in unicorn and counts blocks, operator by operator; `decode`
says what each instruction is; `timing` has the cores; `predict` joins them.
"""

from __future__ import annotations

from spikelet.run.cycles.predict import CORES, Prediction, predict

__all__ = ["CORES", "Prediction", "predict"]
