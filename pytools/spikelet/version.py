"""The version of Spikelet; firmware, packages and sessions carry it."""

__version__ = "0.2.0"
