"""Kernels of the trainable layers alone, on a sanitised host: every tensor a block of its own.

The statements are those that operators emit. A tensor lies in memory of exactly its size, between
red zones; what operators are to write is poisoned before. Nothing may be read that was not given.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from spikelet.codegen.emit import CEmitter
from spikelet.graph import Array, Graph, Tensor
from spikelet.paths import firmware_dir
from support import need

C_TYPES = {"f32": "float", "f16": "uint16_t", "i32": "int32_t", "i16": "int16_t", "i8": "int8_t",
           "u32": "uint32_t", "u8": "uint8_t"}  # fmt: skip
FLAGS = [
    "-std=c11", "-O0", "-g", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wconversion",
    "-Wshadow", "-Wno-unused-function", "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
]  # fmt: skip
PROGRAM = """{macros}
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes}
{constants}
{configs}
{tensors}
static void *block(size_t size) {{
    void *p = malloc(size);
    memset(p, 0x7F, size);
    return p;
}}
static void get(void *p, size_t size) {{
    if (fread(p, 1, size, stdin) != size) {{
        exit(3);
    }}
}}
static void step(void) {{
    {statements}
}}
int main(int argc, char **argv) {{
    {made}
    {learned}
    (void)argv;
    for (int n = 1; n < argc; n++) {{
        {poisoned}
        {given}
        step();
        {said}
    }}
    return 0;
}}
"""


def run(graph: Graph, samples: int, folder: Path, seed: int = 0) -> None:
    """Execute all operators for some samples; every tensor is golden's after each."""
    need("gcc")
    rng = np.random.default_rng(seed)
    program = _build(graph, folder)
    inputs = [{t.name: random_values(t, rng) for t in graph.inputs} for _ in range(samples)]
    env: dict[str, Array] = graph.initial()
    sent = b"".join(k.tensor.to_bytes(env[k.tensor.name]) for k in graph.learned)
    for given in inputs:
        sent += b"".join(t.to_bytes(given[t.name]) for t in graph.inputs)
    done = subprocess.run(
        [program, *["sample"] * samples], input=sent, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    at = 0
    for n, given in enumerate(inputs):
        env.update({name: values[None] for name, values in given.items()})
        for node in graph.order:
            node.golden(env, 0)
        for tensor in _visible(graph):
            learned = tensor.kind == "learned"
            expected = env[tensor.name] if learned else env[tensor.name][0]
            found = tensor.from_bytes(done.stdout[at : at + tensor.nbytes])
            at += tensor.nbytes
            wrong = np.flatnonzero(found.reshape(-1) != expected.reshape(-1))
            same = tensor.to_bytes(found) == tensor.to_bytes(expected)
            assert same, (
                f"sample {n}: {tensor.name} differs in {len(wrong)} of {tensor.size} elements, "
                f"first at {wrong[:1]}: {found.reshape(-1)[wrong[:3]]}, golden "
                f"{expected.reshape(-1)[wrong[:3]]}"
            )
    assert at == len(done.stdout)


def random_values(tensor: Tensor, rng: np.random.Generator) -> Array:
    """Normal floats; integers anywhere in their type."""
    if tensor.dtype == "f32":
        return rng.normal(0, 1, tensor.shape).astype(np.float32)
    low, high = tensor.limits
    drawn = rng.integers(int(low), int(high), tensor.shape, endpoint=True)
    return drawn.astype(tensor.numpy_dtype)


def _visible(graph: Graph) -> list[Tensor]:
    written = [t for node in graph.order for t in node.outs]
    return [*written, *(k.tensor for k in graph.learned)]


def _build(graph: Graph, folder: Path) -> Path:
    places: Any = None  # there is no memory plan
    em = CEmitter(graph, places)
    statements = [str(s) for node in graph.order for s in node.emit(em)]
    every = [*graph.inputs, *_visible(graph)]
    name = {t.name: em.tensor(t.name) for t in every}
    learned = [k.tensor for k in graph.learned]
    written = [t for node in graph.order for t in node.outs]

    def each(tensors: list[Tensor], form: str) -> str:
        return "\n".join(form.format(p=name[t.name], n=t.nbytes) for t in tensors)

    text = PROGRAM.format(
        macros="\n".join(f"#define {k} {v}" for k, v in em.macros.items()),
        includes="\n".join(f'#include "{h}"' for h in sorted(em.includes)),
        constants="\n".join(em.constants.values()),
        configs="\n".join(em.configs.values()),
        tensors="\n".join(f"static {C_TYPES[t.dtype]} *{name[t.name]};" for t in every),
        statements="\n    ".join(statements),
        made=each(every, "{p} = block({n});"),
        learned=each(learned, "get({p}, {n});"),
        poisoned=each(written, "memset({p}, 0x7F, {n});"),
        given=each(graph.inputs, "get({p}, {n});"),
        said=each(_visible(graph), "fwrite({p}, 1, {n}, stdout);"),
    )
    folder.mkdir(parents=True, exist_ok=True)
    source, program = folder / "alone.c", folder / "alone"
    source.write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["gcc", *FLAGS, f"-I{firmware_dir()}", str(source), "-o", str(program)],
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[:3000]
    return program
