"""The host's side of the link: framing, flow control, transports and the device behind them.

Bytes only: what they mean as numbers is spikelet.run's. messages.toml defines what travels; it
generates messages.py and firmware/link/spk_messages.h.
"""

from spikelet.link.device import Device
from spikelet.link.errors import (
    DeviceDiffers,
    DeviceRefused,
    DeviceReset,
    LearningLost,
    LinkTimeout,
    ModelMismatch,
    PortError,
    ProtocolError,
    TransportClosed,
    WrongVersion,
)
from spikelet.link.exchange import LinkStats
from spikelet.link.expected import Expected
from spikelet.link.facts import (
    DeviceInfo,
    DeviceTensor,
    Dtype,
    EventResult,
    Kind,
    LearnAction,
    LearnResult,
    LearnState,
    RunResult,
    SelfTest,
    Source,
    Stored,
)
from spikelet.link.transport import FdTransport, SerialTransport, Transport, open_transport

__all__ = [
    "Device",
    "DeviceDiffers",
    "DeviceInfo",
    "DeviceRefused",
    "DeviceReset",
    "DeviceTensor",
    "Dtype",
    "EventResult",
    "Expected",
    "FdTransport",
    "Kind",
    "LearnAction",
    "LearnResult",
    "LearnState",
    "LearningLost",
    "LinkStats",
    "LinkTimeout",
    "ModelMismatch",
    "PortError",
    "ProtocolError",
    "RunResult",
    "SelfTest",
    "SerialTransport",
    "Source",
    "Stored",
    "Transport",
    "TransportClosed",
    "WrongVersion",
    "open_transport",
]
