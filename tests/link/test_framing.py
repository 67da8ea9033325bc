from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from link_vectors import VECTORS, text
from spikelet.link.framing import PIECE_MAX, Deframer, Frame, decode, encode

byte = st.integers(0, 255)
frames = st.builds(Frame, byte, byte, byte, byte, st.binary(max_size=1024))
garbage = st.binary(max_size=300).map(lambda data: data.replace(b"\0", b"\1"))


def _vectors() -> list[tuple[str, bytes, bytes]]:
    rows = [line.split() for line in VECTORS.read_text().splitlines()]
    return [(kind, bytes.fromhex(p.strip("-")), bytes.fromhex(wire)) for kind, p, wire in rows]


def test_vectors_are_what_their_script_makes() -> None:
    assert VECTORS.read_text() == text()


def test_vectors() -> None:
    kinds = {"good": 0, "bad": 0}
    for kind, plain, wire in _vectors():
        kinds[kind] += 1
        deframer = Deframer()
        found = deframer.feed(wire)
        if kind == "good":
            frame = Frame(*plain[:4], plain[4:])
            assert encode(frame) == wire
            assert found == [frame]
        else:
            assert found == []
            assert deframer.bad == 1
    assert kinds == {"good": 76, "bad": 87}


@given(frames)
def test_round_trip(frame: Frame) -> None:
    wire = encode(frame)
    assert wire[0] == wire[-1] == 0
    assert wire.count(0) == 2
    assert decode(wire[1:-1]) == frame


@given(st.lists(frames, max_size=8), st.randoms(use_true_random=False))
def test_any_chunking(sent: list[Frame], rng: random.Random) -> None:
    wire = b"".join(encode(frame) for frame in sent)
    cuts = sorted(rng.randint(0, len(wire)) for _ in range(rng.randint(0, 20)))
    deframer = Deframer()
    got = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        got += deframer.feed(wire[begin:end])
    assert got == sent
    assert (deframer.good, deframer.bad) == (len(sent), 0)


@given(st.lists(st.tuples(garbage, frames), max_size=6), garbage)
def test_garbage_before_and_between_loses_nothing(
    sent: list[tuple[bytes, Frame]], last: bytes
) -> None:
    deframer = Deframer()
    got = deframer.feed(b"".join(noise + encode(frame) for noise, frame in sent) + last)
    assert got == [frame for _, frame in sent]
    assert deframer.bad == sum(bool(noise) for noise, _ in sent)


@given(frames, st.data())
def test_a_flipped_bit_is_never_accepted(frame: Frame, data: st.DataObject) -> None:
    wire = bytearray(encode(frame))
    at = data.draw(st.integers(1, len(wire) - 2))
    wire[at] ^= 1 << data.draw(st.integers(0, 7))
    assert Deframer().feed(bytes(wire)) == []


def test_an_endless_piece_takes_bounded_memory() -> None:
    deframer = Deframer()
    for _ in range(100):
        assert deframer.feed(b"\x55" * 4096) == []
    assert len(deframer._tail) == PIECE_MAX + 1
    frame = Frame(1, 2, 3, 4, b"spike")
    assert deframer.feed(encode(frame)) == [frame]
    assert deframer.bad == 1
