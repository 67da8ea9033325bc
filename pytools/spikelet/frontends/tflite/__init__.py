"""TensorFlow Lite: an integer file as it is, a float one as a network.

`file` turns bytes into plain, checked data, and nothing behind it sees a flatbuffer; `layers` and
the files beside it convert one operator each; `floats` reads float files.
"""

from spikelet.frontends.tflite.importer import Imported, load, parse, supported_operators

__all__ = ["Imported", "load", "parse", "supported_operators"]
