"""Spikelet from Python: a model as one object, to predict with, to look at, to build and to run.

All of it is `import spikelet`; nothing is loaded before it is asked for. The examples of this file
are one session, and a test runs them. It begins so:

>>> import numpy as np, torch, spikelet
>>> x = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)
>>> y = np.argmax(x[:, :3], axis=1)
>>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
>>> for _ in range(200):
...     optimiser.zero_grad()
...     torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y)).backward()
...     _ = optimiser.step()
>>> package = spikelet.export(net, x[:1], x, labels=y, name="tiny")

Arrays count samples along their first axis. Values are real numbers in the units of the model that
was given; tensors of PyTorch do as well as arrays. Whatever is wrong with what is given is a
`spikelet.errors.UsageError` that says what, why, and what to do.
"""

from spikelet.api.calls import compare, connect, export, import_model, load, train
from spikelet.api.package import Package
from spikelet.run import Watch
from spikelet.run.overview import Summary
from spikelet.run.real_device import Device, State
from spikelet.run.reals import Prediction
from spikelet.run.recorded import Page, Session
from spikelet.run.session_options import RunOptions

__all__ = [
    "Device",
    "Package",
    "Page",
    "Prediction",
    "RunOptions",
    "Session",
    "State",
    "Summary",
    "Watch",
    "compare",
    "connect",
    "export",
    "import_model",
    "load",
    "train",
]
