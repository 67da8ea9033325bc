"""NIR, the neuromorphic intermediate representation: files as spiking networks, and the way back.

`file` turns an HDF5 file into plain, checked data; `wiring` makes graphs within graphs flat and
finds the loops; `nodes` converts one node each, by the `convention` that the file does not hold.
`writer` writes what NIR can hold, `choices` counts what another convention would change.

Source: Pedersen et al., "Neuromorphic intermediate representation", Nature Communications 2024.
"""

from spikelet.frontends.nir.choices import Choice, choices
from spikelet.frontends.nir.convention import Convention
from spikelet.frontends.nir.options import NirOptions
from spikelet.frontends.nir.reader import network_of, read
from spikelet.frontends.nir.writer import graph_of, write

__all__ = [
    "Choice",
    "Convention",
    "NirOptions",
    "choices",
    "graph_of",
    "network_of",
    "read",
    "write",
]
