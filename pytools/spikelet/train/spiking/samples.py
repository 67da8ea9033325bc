"""Samples of a data set as a spiking network reads them: codes, and what they are over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spikelet.errors import UsageError
from spikelet.frontends.spiking.encoders import (
    DirectCurrent,
    Encoder,
    EventBits,
    EventCounts,
    Frames,
    Latency,
    Poisson,
    encode,
)
from spikelet.frontends.spiking.held import channels_last
from spikelet.graph import Array
from spikelet.train.data import DataSet
from spikelet.train.recipe import Augment, SpikingSection

CURRENTS = (DirectCurrent, EventBits)  # a step's input is what a sample has, nothing is drawn
OUTSIDE = 0.05  # percent of real values at either end that codes need not hold


@dataclass(frozen=True)
class Coding:
    """How samples become codes and inputs.

    Attributes:
        encoder: of the graph.
        steps: T.
        shape: of what a step sees, channels first.
        framed: samples have an axis of time, cut into steps of `rows` rows.
        rows: of a sample, that a step sees.
    """

    encoder: Encoder
    steps: int
    shape: tuple[int, ...]
    framed: bool
    rows: int

    @staticmethod
    def of(data: DataSet, how: SpikingSection) -> Coding:
        """For a data set; raises UsageError where time does not fit it."""
        framed = how.encoder in ("frames", "events", "event_counts")
        shape = data.x_train.shape[1:]
        if not framed:
            spikes: dict[str, Encoder] = {"poisson": Poisson(), "latency": Latency()}
            encoder = spikes.get(how.encoder)
            first = (shape[-1], *shape[:-1]) if len(shape) == 3 else shape
            if len(shape) == 2:  # a signal is an image of height 1
                first = (shape[1], 1, shape[0])
            return Coding(encoder or _current(data, DirectCurrent), how.steps, first, False, 1)
        if shape[0] != how.steps * how.rows:
            raise UsageError(
                f"data set {data.name}: samples have {shape[0]} frames, and the recipe "
                f"{how.steps} steps of {how.rows}",
                next=f"give steps = {shape[0] // how.rows} in [spiking], or other rows",
            )
        rest = shape[1:]
        if len(rest) == 3 and how.rows == 1:
            first = (rest[2], *rest[:2])
        else:
            first = (how.rows * math.prod(rest),)
        if how.encoder == "frames":
            return Coding(_current(data, Frames), how.steps, first, True, how.rows)
        encoder = EventBits() if how.encoder == "events" else EventCounts()
        _check_events(data, encoder)
        return Coding(encoder, how.steps, first, True, how.rows)

    def coarse(self, factor: int) -> Coding:
        """Of events, with steps as long as `factor` of these."""
        return replace(self, steps=self.steps // factor, encoder=EventCounts())

    def codes(self, data: DataSet, x: Array) -> Array:
        """Samples as u8 codes in the data set's own shape."""
        if x.dtype == np.uint8:
            return x
        real = data.real(x) / self.encoder.scale + self.encoder.zero_point
        coded: Array = np.clip(np.floor(real + 0.5), 0, 255).astype(np.uint8)
        return coded

    def arranged(self, codes: Tensor) -> Tensor:
        """Codes (N, ..., C) as (T or 1, N, *shape), channels first."""
        n = len(codes)
        if self.framed and len(self.shape) == 3:
            return codes.movedim(1, 0).movedim(-1, 2)
        if self.framed:
            return codes.reshape(n, self.steps, *self.shape).transpose(0, 1)
        if codes.dim() == 3:  # (N, L, C)
            return codes.movedim(-1, 1).unsqueeze(2)[None]
        return codes.movedim(-1, 1)[None] if codes.dim() == 4 else codes[None]

    def inputs(self, codes: Tensor, seeds: Array | None = None) -> Tensor:
        """Codes (N, ..., C) as (T or 1, N, *shape): less the code of 0, or spikes; float32."""
        if isinstance(self.encoder, CURRENTS):
            return self.arranged(codes.float()) - self.encoder.zero_point
        flat = self.in_graph(codes.numpy()).reshape(len(codes), -1)
        spikes = encode(flat, self.encoder, self.steps, seeds)
        last = channels_last(self.shape)
        spikes = spikes.reshape(self.steps, len(codes), *last)
        return spikes.movedim(-1, 2) if len(last) == 3 else spikes

    def real(self, inputs: Tensor) -> Tensor:
        """Inputs as real values."""
        return inputs * self.encoder.scale if self.encoder.scale != 1 else inputs

    def augmented(self, codes: Tensor, labels: Tensor, augment: Augment) -> tuple[Tensor, Tensor]:
        """Codes (N, ..., C) and targets after `augment`, which sees real values channels first."""
        zero, scale, most = 0, 1 / 255, 255
        if isinstance(self.encoder, CURRENTS):
            zero, scale = self.encoder.zero_point, self.encoder.scale
        if isinstance(self.encoder, EventBits):
            most = 1
        x, targets = augment((codes.movedim(-1, 1).float() - zero) * scale, labels)
        made = (x / scale + zero).round().clamp(0, most)
        return made.to(torch.uint8).movedim(1, -1).contiguous(), targets

    def in_graph(self, codes: Array) -> Array:
        """Codes (N, ..., C) as the graph reads them: channels last, frames in front of all."""
        arranged = self.arranged(torch.from_numpy(codes)).numpy()
        if len(self.shape) == 3:
            arranged = np.moveaxis(arranged, 2, -1)
        x = np.moveaxis(arranged, 0, 1) if self.framed else arranged[0]
        if not isinstance(self.encoder, CURRENTS):
            x = x.reshape(len(x), -1)
        return np.ascontiguousarray(x)

    def for_author(self, codes: Array) -> Array:
        """Codes as real values, (N, *shape) or (N, T, *shape), channels first."""
        inputs = self.arranged(torch.from_numpy(codes).float()) - self.encoder.zero_point
        scale = self.encoder.scale if isinstance(self.encoder, CURRENTS) else 1 / 256
        x = (inputs * scale).numpy()
        return np.moveaxis(x, 0, 1) if self.framed else x[0]


def summed(codes: Tensor, factor: int) -> Tensor:
    """Counts (N, T, ...) of events, u8, summed over so many steps: (N, T / factor, ...)."""
    n, steps = codes.shape[:2]
    whole = codes.reshape(n, steps // factor, factor, *codes.shape[2:]).sum(dim=2)
    return whole.clamp(max=255).to(torch.uint8)


def _check_events(data: DataSet, encoder: Encoder) -> None:
    """Refuse what is not counts of events, or not bits where those are asked for."""
    if data.x_train.dtype != np.uint8:
        raise UsageError(
            f"data set {data.name}: samples are {data.x_train.dtype}, not u8 counts of events",
            next='give encoder = "frames"',
        )
    if isinstance(encoder, EventBits) and (most := int(data.x_train.max())) > 1:
        raise UsageError(
            f"data set {data.name}: counts of up to {most} events, but bits are asked for",
            next='give encoder = "event_counts" in [spiking], or counts = false in [data.events]',
        )


def _current(data: DataSet, kind: type[DirectCurrent]) -> DirectCurrent:
    """Codes of real values: the data set's own where it has some."""
    if data.x_train.dtype == np.uint8 and data.scale.size == data.offset.size == 1:
        scale = float(data.scale.reshape(()))
        zero = -float(data.offset.reshape(())) / scale
        if abs(zero - round(zero)) < 1e-3 and 0 <= round(zero) <= 255:
            return kind(scale, round(zero))
    real = data.real(data.x_train)
    low, high = np.percentile(real, [OUTSIDE, 100 - OUTSIDE])
    low, high = min(0.0, float(low)), max(0.0, float(high))
    scale = (high - low) / 255 or 1 / 255
    return kind(scale, round(-low / scale))
