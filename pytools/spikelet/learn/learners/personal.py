"""Personalisation: a frozen global expert, a small local expert, and a gate that chooses.

The global expert is the backbone with its own head. The gate looks first, so that only one of the
experts is executed. Both the gate and the local expert learn on the device: the local expert from
the user's samples, the gate from those against generic samples that are stored in flash. C twin:
firmware/learn/personal.h.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from spikelet.errors import UsageError
from spikelet.graph import Array, Graph, Learned, Tensor, c
from spikelet.graph.c import Statement
from spikelet.graph.declared import Held
from spikelet.graph.fixed import mix32
from spikelet.graph.graph import LABEL
from spikelet.graph.int8 import interval
from spikelet.graph.operator import Emitter, Inferred, Interval, Operator, Phase
from spikelet.learn.backbone import until
from spikelet.learn.choices import Within
from spikelet.learn.learner import Learner, Setting
from spikelet.learn.networks.classifier import Perceptron, perceptron_network, root_mean_square
from spikelet.learn.numbers.feature import C_TYPES

USER, GENERIC = 1, 0  # classes of the gate


@dataclass(kw_only=True)
class PersonalGate(Operator):
    """1 where the second of two logits (2,) i16 is larger: the sample is the user's; (1,) i32."""

    KIND: ClassVar[str] = "personal_gate"

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        ins = self.ins
        if ins[0].dtype != "i16" or ins[0].shape != (2,):
            raise self.error(f"input {ins[0].name} is {ins[0].dtype} {ins[0].shape}, not i16 (2,)")
        bounds[self.name] = interval((1,), 0, 1)
        return Inferred([Tensor(self.name, "i32", (1,))])

    def golden(self, env: dict[str, Array], t: int) -> None:
        logits = env[self.inputs[0]]
        env[self.name] = (logits[:, 1:] > logits[:, :1]).astype(np.int32)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/personal.h")
        return [c.run("spk_personal_gate", em.tensor(self.inputs[0]), em.tensor(self.name))]


@dataclass(kw_only=True)
class PersonalSelect(Operator):
    """The scores of the expert that was executed.

    Reads the gate (1,) i32, local scores (C,) i16, global scores, C elements i8, u8, i16 or i32;
    writes (C,) i32: the local ones where the gate is 1.
    """

    KIND: ClassVar[str] = "personal_select"

    def chosen(self) -> dict[str, int]:
        return {self.inputs[1]: USER, self.inputs[2]: GENERIC}

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        gate, local, world = self.ins
        if gate.dtype != "i32" or gate.shape != (1,) or local.dtype != "i16":
            raise self.error(f"gate is {gate.dtype} {gate.shape}, local scores are {local.dtype}")
        if world.dtype not in C_TYPES or (world.size,) != local.shape:
            raise self.error(
                f"global scores are {world.dtype} {world.shape}, local ones {local.shape}"
            )
        ends = [bounds[name] for name in self.inputs[1:]]
        low, high = min(int(e[0].min()) for e in ends), max(int(e[1].max()) for e in ends)
        bounds[self.name] = interval(local.shape, low, high)
        return Inferred([Tensor(self.name, "i32", local.shape)])

    def golden(self, env: dict[str, Array], t: int) -> None:
        gate, local, world = (env[name] for name in self.inputs)
        world = world.reshape(len(world), -1)
        env[self.name] = np.where(gate != 0, local, world).astype(np.int32)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/personal.h")
        gate, local, world = map(em.tensor, self.inputs)
        dtype, to = C_TYPES[self.ins[2].dtype], em.tensor(self.name)
        return [c.run("spk_personal_select", self.ins[2].size, gate, local, world, dtype, to)]


@dataclass(kw_only=True)
class PersonalExemplar(Operator):
    """Draws one of the generic samples, `(random >> 16) * count >> 16`.

    Reads random (1,) u32, which changes, and what the gate reads, for its type; writes the sample
    (n,), and the gate's labels `name.user` and `name.generic`, (1,) i32: 1 and 0.

    Attributes:
        exemplars: (count, n) int8 or uint8, at most 65535.
    """

    KIND: ClassVar[str] = "personal_exemplar"

    exemplars: Annotated[Array, Held("int8", 2)]

    def infer(self, bounds: dict[str, Interval], steps: int) -> Inferred:
        x = self.ins[1]
        self.expect_learned(self.ins[0], bounds, "u32", (1,))
        if (
            self.exemplars.dtype != x.numpy_dtype
            or self.exemplars.ndim != 2
            or self.exemplars.shape[1] != x.size
            or not 1 <= len(self.exemplars) <= 65535
        ):
            raise self.error(
                f"exemplars are {self.exemplars.dtype} {self.exemplars.shape}, expected "
                f"{x.numpy_dtype} (1 to 65535, {x.size})"
            )
        written = dataclasses.replace(x, name=self.name, shape=(x.size,), kind="activation")
        bounds[self.name] = interval(
            (x.size,), int(self.exemplars.min()), int(self.exemplars.max())
        )
        bounds[f"{self.name}.user"] = interval((1,), USER, USER)
        bounds[f"{self.name}.generic"] = interval((1,), GENERIC, GENERIC)
        labels = [Tensor(f"{self.name}.{part}", "i32", (1,)) for part in ("user", "generic")]
        return Inferred([written, *labels])

    def phase(self, ins: list[Phase]) -> Phase:
        return Phase.LEARN

    def golden(self, env: dict[str, Array], t: int) -> None:
        random = env[self.inputs[0]]
        state = int(random[0])
        state ^= (state << 13) & 0xFFFFFFFF
        state ^= state >> 17
        state ^= (state << 5) & 0xFFFFFFFF
        random[0] = state
        env[self.name] = self.exemplars[(state >> 16) * len(self.exemplars) >> 16][None]
        env[f"{self.name}.user"] = np.full((1, 1), USER, np.int32)
        env[f"{self.name}.generic"] = np.full((1, 1), GENERIC, np.int32)

    def emit(self, em: Emitter) -> list[Statement]:
        em.include("learn/personal.h")
        count, n = self.exemplars.shape
        held = em.const(f"{self.name}_exemplars", self.exemplars, f"({count}, {n})")
        names = (self.name, f"{self.name}.user", f"{self.name}.generic")
        random, *written = map(em.tensor, (self.inputs[0], *names))
        return [c.run("spk_personal_exemplar", held, count, n, random, *written)]


@dataclass(kw_only=True)
class Personal(Learner):
    """A small expert for the user beside the frozen network, and a gate that chooses one of them.

    The backbone's first output must be scores of the classes. What computes the features is always
    executed; the rest of the backbone only where the gate says that a sample is not the user's.
    All samples that it learns from are the user's; the calibration data is what is generic.

    Attributes:
        hidden: neurons of the local expert's hidden layer.
        gate: neurons of the gate's hidden layer.
        exemplars: generic samples that are stored in flash.
        rate: learning rate for features whose mean square is 1.
        precision: of both networks: i16 or i8.
        rounding: of their weights: nearest or stochastic.
    """

    NAME: ClassVar[str] = "personal"
    WHOLE: ClassVar[bool] = True

    hidden: Annotated[int, Within(1, 4096)] = 24
    gate: Annotated[int, Within(1, 4096)] = 16
    exemplars: Annotated[int, Within(1, 65535)] = 200
    rate: Annotated[float, Within(1e-6, 1)] = 0.02
    precision: Literal["i16", "i8"] = "i16"
    rounding: Literal["nearest", "stochastic"] = "nearest"

    def build(self, backbone: Graph, setting: Setting) -> Graph:
        x = backbone.tensors[setting.features]
        world, samples = self._check_inputs(backbone, x, setting)
        rng = np.random.default_rng(setting.seed)
        chosen = rng.permutation(len(samples))[: self.exemplars]
        size = root_mean_square(x, samples)
        net = perceptron_network(x, size, self.precision, self.rate, self.rounding)
        sizes, first = [self.hidden, setting.classes], 2 * setting.seed
        local = Perceptron(net, "personal_local", x, sizes, first)
        # Until it has learned who the user is, it chooses the network.
        gate = Perceptron(net, "personal_gate", x, [self.gate, 2], first + 1, silent=True)
        seed = mix32(np.array([setting.seed], np.uint32))
        random = Learned.of("personal.random", "u32", (1,), np.where(seed == 0, 1, seed), low=1)
        early = set()
        if any(t.name == x.name for node in backbone.nodes for t in node.outs):
            early = {node.name for node in until(backbone, x.name).nodes}
        scores = until(backbone, world)
        net.nodes += [node for node in scores.nodes if node.name in early]
        gate.forward(x.name, "gate")
        net.nodes.append(PersonalGate(name="is_user", inputs=("gate_2",)))
        local.forward(x.name, "local", when=("is_user", USER))
        net.nodes += [
            *(
                dataclasses.replace(node, when=("is_user", GENERIC))
                for node in scores.nodes
                if node.name not in early
            ),
            PersonalSelect(name="scores", inputs=("is_user", "local_2", world)),
            PersonalExemplar(
                name="exemplar",
                inputs=("personal.random", x.name),
                exemplars=samples[chosen].reshape(len(chosen), -1),
            ),
        ]
        # The local expert may have been left out of the prediction: it is computed again.
        local.forward(x.name, "lesson", again=True)
        local.backward("lesson", LABEL)
        gate.backward("gate", "exemplar.user")
        gate.forward("exemplar", "generic")
        gate.backward("generic", "exemplar.generic")
        empty = dataclasses.replace(scores, inputs=backbone.inputs)
        return dataclasses.replace(
            empty,
            nodes=net.nodes,
            outputs=["scores", "is_user"],
            learned=[*backbone.learned, *net.learned, random],
            classes=setting.classes,
        )

    def _check_inputs(self, backbone: Graph, x: Tensor, setting: Setting) -> tuple[str, Array]:
        """The tensor of global scores and the generic samples; raises UsageError."""
        if x.dtype not in ("u8", "i8"):
            raise UsageError(
                f"personal with {x.dtype} features {x.name}",
                "gate and local expert read codes of 8 bits",
                "name an input or another tensor of u8 or i8 codes",
            )
        tensors = {name: backbone.tensors[name] for name in backbone.outputs}
        fitting = [n for n, t in tensors.items() if t.size == setting.classes > 1]
        if not fitting or tensors[fitting[0]].dtype not in C_TYPES or fitting[0] == x.name:
            shapes = ", ".join(f"{t.dtype} {n} {t.shape}" for n, t in tensors.items())
            raise UsageError(
                f"personal for {setting.classes} classes, but the network's outputs are {shapes}",
                "the network has no head of its own, or one for other classes",
                "attach it to a whole classifier, with its input or an early tensor for features",
            )
        samples = setting.fitting(backbone)
        if not len(samples):
            raise UsageError(
                "personal has no generic samples",
                "no calibration data was given",
                f"give {self.exemplars} samples of other users; they need no labels",
            )
        return fitting[0], samples

    def health(self, learned: Mapping[str, Array]) -> dict[str, float]:
        saturated = [v[0] for k, v in learned.items() if k.startswith("personal_") and ".h" in k]
        return {"saturations": float(sum(saturated))}
