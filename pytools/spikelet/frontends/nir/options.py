"""How a NIR file becomes a package."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from spikelet.errors import UsageError
from spikelet.frontends.nir.convention import Convention

ENCODERS = ("direct", "rate", "poisson", "latency")
STATES = ("auto", "exact", "narrow")
MOST_STEPS = 32767


@dataclass(frozen=True, kw_only=True)
class NirOptions:
    """How a network of NIR is executed.

    Attributes:
        steps: of an inference.
        encoder: how a sample becomes what the first layer gets in each step; see `Spiking`.
        state: of the neurons, `auto`, `exact` or `narrow`; see `Spiking`.
        dt: seconds of a step.
        reset: `zero`, `value`, `subtract` or `none`: what a spike does to the membrane.
        timing: `same_step`, `next_step` or `next_step_input_lost`: when.
        compare: `>` or `>=`: whether a membrane at the threshold fires.
        initial: `zero`, `reset` or `leak`: the membrane before the first step.
        input: `current` or `jump`: what flows into IF and synapses.

    Raises:
        UsageError: a value that is none.
    """

    steps: int | None = None
    encoder: str = "direct"
    state: Literal["auto", "exact", "narrow"] = "auto"
    dt: float | None = None
    reset: str | None = None
    timing: str | None = None
    compare: str | None = None
    initial: str | None = None
    input: str | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise UsageError(f"steps {self.steps}: expected 1 to {MOST_STEPS}")
        for what, given, known in (
            ("encoder", self.encoder, ENCODERS), ("state", self.state, STATES),
        ):  # fmt: skip
            if given not in known:
                raise UsageError(f"{what} {given!r:.60}", next=f"choose one of {', '.join(known)}")
        _ = self.convention

    @property
    def convention(self) -> Convention:
        """What NIR leaves open."""
        given: dict[str, Any] = asdict(self)
        return Convention(**{k: v for k, v in given.items() if k not in _OWN})


_OWN = ("steps", "encoder", "state")
