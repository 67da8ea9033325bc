"""Operators of trainable layers: forward, error, and update fused into the backward pass."""
