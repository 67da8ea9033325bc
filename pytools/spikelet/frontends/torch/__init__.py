"""PyTorch: a module, captured by torch.export, as a network or a package.

`probe` asks what the module does with a batch; `call` is one ATen call; `layers` and `moving`
convert them.
"""

from spikelet.frontends.torch.exporter import export, from_torch, gather_samples

__all__ = ["export", "from_torch", "gather_samples"]
