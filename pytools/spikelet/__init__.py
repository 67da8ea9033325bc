"""Spikelet: from PyTorch to a microcontroller, checked bit for bit."""

__version__ = "0.1.0"
