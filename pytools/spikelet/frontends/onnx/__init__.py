"""ONNX: float, QDQ and QOperator files as networks, and the way back to a QDQ file.

`file` turns bytes into plain, checked data; `layers` and the files beside it convert one operator
each; `original` executes the file as it was given; `export` writes one.
"""

from spikelet.frontends.onnx.importer import build, load, network_of, parse, supported_operators

__all__ = ["build", "load", "network_of", "parse", "supported_operators"]
