"""Learning on the device: trainable layers, learners, and their golden twin.

A learner is a set of operators in the graph that it learns in. `learner.learners` says which there
are, `Twin` executes one sample after the other as the device does.
"""

from spikelet.learn.backbone import features, identity, until
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.needs import Needs, needs
from spikelet.learn.twin import Twin

__all__ = [
    "Learner", "Needs", "Setting", "Twin", "features", "identity", "needs", "until",
]  # fmt: skip
