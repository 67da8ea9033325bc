"""Tensors of a device: written and read whole, by name, in their wire layout."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spikelet.errors import UsageError
from spikelet.link.events import EventRuns
from spikelet.link.exchange import Request
from spikelet.link.facts import Dtype, Kind
from spikelet.link.messages import Status, TensorGetRequest, TensorPutRequest, Type
from spikelet.link.replies import TensorGetReply

_PUT_HEAD = 6
_GET_HEAD = 7


class Tensors(EventRuns):
    """Reads and writes; a part of `Device`."""

    def put(self, name: str, data: bytes) -> None:
        """Writes a whole input or state, in its wire layout.

        Raises:
            UsageError: unknown name, wrong size, or not writable.
            DeviceRefused, LinkDead.
        """
        self.put_many({name: data})

    def put_many(self, tensors: Mapping[str, bytes]) -> None:
        """Writes several tensors in one window; see `put`."""
        requests = self._puts(tensors)
        learns = any(self.tensor(name).kind is Kind.LEARNED for name in tensors)
        if learns and not self.hello.keyed:
            self._claims.note_write()
        sent = total_bytes(tensors.values())
        replies = self._exchange(requests, self._allowed_s(sent), learns=learns)
        self._all_ok(requests, replies, self._put_refusals(tensors))
        self.stats.bytes += sent

    def get(self, name: str) -> bytes:
        """Reads a whole tensor, in its wire layout.

        Raises:
            UsageError: unknown name.
            DeviceRefused, LinkDead.
        """
        return self.get_many([name])[name]

    def get_many(self, names: Iterable[str]) -> dict[str, bytes]:
        """Reads several tensors in one window; see `get`."""
        entries = {name: self.tensor(name) for name in names}
        memory = {tensor.id: bytearray() for tensor in entries.values()}
        chunk = self.hello.payload - _GET_HEAD
        wanted = [
            TensorGetRequest(tensor.id, at, min(chunk, tensor.bytes - at))
            for tensor in entries.values()
            for at in range(0, tensor.bytes, chunk)
        ]
        total = sum(tensor.bytes for tensor in entries.values())
        requests = [Request(Type.TENSOR_GET, ask.pack()) for ask in wanted]
        replies = self._exchange(requests, self._allowed_s(total))
        self._all_ok(requests, replies)
        for ask, reply in zip(wanted, replies, strict=True):
            got = self._read(TensorGetReply, reply)
            if got[:2] != ask[:2] or len(got.data) != ask.size or reply.more:
                raise self._impossible(
                    f"bytes {got.offset}+{len(got.data)} of tensor {got.tensor}, asked for "
                    f"{ask.offset}+{ask.size} of tensor {ask.tensor}"
                )
            memory[ask.tensor] += got.data
        self.stats.bytes += total
        return {name: bytes(memory[tensor.id]) for name, tensor in entries.items()}

    def _puts(self, tensors: Mapping[str, bytes]) -> list[Request]:
        """PUT requests for whole tensors; checked here, so that the mistake has a name."""
        chunk = (self.hello.payload - _PUT_HEAD) & ~3  # the device checks whole elements
        requests = []
        for name, data in tensors.items():
            tensor = self.tensor(name)
            if not tensor.writable:
                raise UsageError(
                    f"tensor {name!r} is of kind {tensor.kind.name.lower()}: not writable",
                    next="write inputs, states, targets and learned tensors only",
                )
            if len(data) != tensor.bytes:
                raise UsageError(
                    f"tensor {name!r} has {tensor.bytes} bytes ({tensor.dtype.name.lower()} "
                    f"{tensor.shape}), not {len(data)}",
                    "wrong shape or dtype",
                    "pass the tensor in its wire layout: little endian, row-major",
                )
            for at in range(0, len(data), chunk):
                part = TensorPutRequest(tensor.id, at, data[at : at + chunk])
                requests.append(Request(Type.TENSOR_PUT, part.pack()))
        return requests

    def _put_refusals(self, tensors: Iterable[str]) -> set[Status]:
        """What PUTs may be refused with: mostly a value that the tensor may not hold."""
        entries = [self.tensor(name) for name in tensors]
        checked = (Dtype.BIT, Dtype.F16, Dtype.F32)
        learning = (Kind.LEARNED, Kind.TARGET)
        some = any(
            t.dtype in checked or t.kind in learning
            # It may be one of a few values.
            or (t.dtype is Dtype.U8 and t.bytes == 1)
            for t in entries
        )  # fmt: skip
        allowed = {Status.RANGE} if some else set()
        if self.hello.keyed and any(t.kind is Kind.LEARNED for t in entries):
            allowed.add(Status.SIGNATURE)
        if any(t.kind is Kind.TARGET for t in entries):  # the label is LEARN's to write
            allowed.add(Status.BAD_STATE)
        return allowed


def total_bytes(parts: Iterable[bytes]) -> int:
    """Of all of them."""
    return sum(len(part) for part in parts)
