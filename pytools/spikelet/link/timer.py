"""How long to wait for a reply before asking again."""

from __future__ import annotations

from dataclasses import dataclass

TIMEOUT_MIN_S = 0.05
BACKOFF_MAX = 16


@dataclass
class RetransmissionTimer:
    """How long to wait for a reply before asking again: RFC 6298 with Karn's rule.

    A reply to a request that was sent twice says nothing of the round trip, because nobody knows
    which of the two it answers. So a timeout that has grown stays until a request is answered
    that was sent once: else a line slower than the first guess would be asked twice for ever.

    Attributes:
        round_trip_s: smoothed; 0 before the first sample.
        variation_s: smoothed distance of samples from it.
        backoff: factor of the timeout since the last sample.
        floor_s: the least timeout before the first sample: what a handshake took in all.
    """

    round_trip_s: float = 0.0
    variation_s: float = 0.0
    backoff: int = 1
    floor_s: float = 0.0

    @property
    def timeout_s(self) -> float:
        """Seconds."""
        return self.backoff * self.first_s

    @property
    def first_s(self) -> float:
        """Seconds, of the first try."""
        return max(TIMEOUT_MIN_S, self.floor_s, self.round_trip_s + 4 * self.variation_s)

    def sample(self, seconds: float) -> None:
        """A request that was sent once has been answered."""
        if self.round_trip_s:
            self.variation_s += (abs(seconds - self.round_trip_s) - self.variation_s) / 4
            self.round_trip_s += (seconds - self.round_trip_s) / 8
        else:
            self.round_trip_s, self.variation_s = seconds, seconds / 2
        self.backoff, self.floor_s = 1, 0.0

    def on_timeout(self) -> None:
        """Nothing came in time."""
        self.backoff = min(2 * self.backoff, BACKOFF_MAX)
