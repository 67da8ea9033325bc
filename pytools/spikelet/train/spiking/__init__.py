"""Training of spiking networks of any shape that the integer graph holds.

A network (`builder`, or any program that `frontends.spiking` reads) is executed over time in
PyTorch (`executor`, `neurons`, `delays`), first in float, then in the very integers of its graph
(`rounding`); `fit` has the phases. What a layer becomes is decided in `frontends.spiking`.
"""

from spikelet.train.spiking.builder import Builder

__all__ = ["Builder"]
