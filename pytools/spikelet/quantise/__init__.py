"""Float networks to int8 graphs: post-training quantisation.

`fold` simplifies a `Network`, `calibrate` finds the int8 code of each tensor, `quantise` does both
and lowers the result to the integer graph. `run` is the float meaning of a network. Frontends and
training make networks; this room knows neither.
"""

from spikelet.quantise.calibrate import METHODS, activation_code, calibrate, weight_code
from spikelet.quantise.drift import (
    Accuracy,
    Drift,
    Original,
    accuracy,
    drift,
    first_outputs,
    unfolded_original,
)
from spikelet.quantise.fold import fold
from spikelet.quantise.fuse import Group, fixed_code, groups, sites
from spikelet.quantise.meaning import run
from spikelet.quantise.network import Code, Network, Node, constant
from spikelet.quantise.pipeline import Options, Quantised, decode, encode, quantise

__all__ = [
    "METHODS",
    "Accuracy",
    "Code",
    "Drift",
    "Group",
    "Network",
    "Node",
    "Options",
    "Original",
    "Quantised",
    "accuracy",
    "activation_code",
    "calibrate",
    "constant",
    "decode",
    "drift",
    "encode",
    "first_outputs",
    "fixed_code",
    "fold",
    "groups",
    "quantise",
    "run",
    "sites",
    "unfolded_original",
    "weight_code",
]
