"""The host's side of the link: framing, flow control, transports and the device behind them.

Bytes only: what they mean as numbers is spikelet.run's. messages.toml defines what travels; it
generates messages.py and firmware/link/spk_messages.h.
"""

from spikelet.link.device import Device, DeviceInfo, DeviceTensor, Dtype, Kind, RunResult
from spikelet.link.errors import (
    DeviceRefused,
    DeviceReset,
    LinkTimeout,
    ModelMismatch,
    PortError,
    ProtocolError,
    TransportClosed,
)
from spikelet.link.exchange import LinkStats
from spikelet.link.transport import FdTransport, SerialTransport, Transport, open_transport

__all__ = [
    "Device",
    "DeviceInfo",
    "DeviceRefused",
    "DeviceReset",
    "DeviceTensor",
    "Dtype",
    "FdTransport",
    "Kind",
    "LinkStats",
    "LinkTimeout",
    "ModelMismatch",
    "PortError",
    "ProtocolError",
    "RunResult",
    "SerialTransport",
    "Transport",
    "TransportClosed",
    "open_transport",
]
