"""Signed packages, deltas and learned states: who made a file, and that it is not
older than one that was seen.

A signature lies beside its file, NAME.sig, and is over all bytes of it, so that it is checked
before anything of the file is read. Ed25519 is that of the package `cryptography`, of the extra
`sign`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from spikelet.errors import UsageError
from spikelet.files import save, write_whole, writing
from spikelet.locks import hold
from spikelet.text import visible

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

Loaded = TypeVar("Loaded")

TRUSTED = "SPIKELET_TRUSTED"  # variable: a public key that all that is loaded must be signed by
SUFFIX = ".sig"
DEVICE_SUFFIX = ".state"  # of a delta or a learned state as a device takes it over
PACKAGE, DELTA, STATE = "package", "delta", "state"
COUNTER_MAX = 2**32 - 1
LOCK_S = 10.0  # how long another process may take to note a counter
_TAG_BYTES = 8  # of a package's hash, before the values of a state
SEAL_BYTES = 68  # of a counter and a signature, for a device
_SEAL_TEXT = b"spikelet delta 1"  # what is signed for a device begins with; no other signature's
_FORMAT = 1
_SIG_BYTES = 4096  # at the most, of a signature's file
_SEEN_BYTES = 1 << 20  # at the most, of the file of counters
_FILE_BYTES = 1 << 30  # at the most, of a file that is signed
_KEY_BYTES = 4096
_FIELDS = {"format": int, "kind": str, "name": str, "counter": int, "sha256": str, "key": str,
           "signature": str}  # fmt: skip


class SignatureError(UsageError):
    """A file that is not what the holder of the trusted key has signed, or not the newest."""


@dataclass(frozen=True)
class Signature:
    """What is signed of a file, and the signature.

    Attributes:
        format: of the signature.
        kind: PACKAGE, DELTA or STATE.
        name: of the model, or of the delta or state; counters are counted for each.
        counter: an older one than was seen of this name is refused.
        sha256: of all bytes of the file, hexadecimal.
        key: of the public key, the first 16 hexadecimal digits of its SHA-256.
        signature: Ed25519 over the other fields, hexadecimal.
    """

    format: int
    kind: str
    name: str
    counter: int
    sha256: str
    key: str
    signature: str = ""

    def message(self) -> bytes:
        """The bytes that are signed: no two signatures share them."""
        fields = {name: value for name, value in asdict(self).items() if name != "signature"}
        return b"spikelet signature\0" + json.dumps(fields, sort_keys=True).encode()

    def expect_name(self, path: Path, name: str) -> None:
        """Raise SignatureError where it is a signature of another model's file."""
        if self.name != name:
            raise SignatureError(
                f"{path}: its signature names {self.kind} {visible(self.name)}, it holds {name}",
                "it was signed under another name than its own",
                "sign it again with `spikelet sign`",
            )


def make_keys(path: Path) -> Path:
    """Write a new private key, and its public key beside it; the path of that.

    Raises:
        UsageError: one of the files is there already, or cannot be written.
    """
    ed25519 = _ed25519()
    public = path.with_name(path.name + ".pub")
    for file in (path, public):
        if file.exists():
            raise UsageError(
                f"{file}: is there already",
                "a key that is overwritten is lost, and with it all that can be signed with it",
                "give another name",
            )
    from cryptography.hazmat.primitives import serialization as form

    key = ed25519.Ed25519PrivateKey.generate()
    pem = form.Encoding.PEM
    data = key.private_bytes(pem, form.PrivateFormat.PKCS8, form.NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error})") from error
    known = key.public_key().public_bytes(pem, form.PublicFormat.SubjectPublicKeyInfo)
    save(public, known)
    return public


def sign(path: Path, key: Path, kind: str, name: str, counter: int | None = None) -> Signature:
    """Sign a file; NAME.sig is written beside it.

    Args:
        path: of the file, whole and good.
        key: of the private key.
        kind: PACKAGE, DELTA or STATE.
        name: see `Signature`.
        counter: None for one more than the signature that lies there, from 1 on.

    Raises:
        UsageError: no such key, or a counter that is out of range.
    """
    private = _private_key(key)
    beside = signature_path(path)
    if counter is None:
        counter = 1 + (_parsed(beside).counter if beside.exists() else 0)
    _checked_counter(counter)
    data = _read(path, _FILE_BYTES)
    made = Signature(
        _FORMAT, kind, name, counter, hashlib.sha256(data).hexdigest(),
        _key_id(private.public_key()),
    )  # fmt: skip
    text = {**asdict(made), "signature": private.sign(made.message()).hex()}
    save(beside, (json.dumps(text, indent=1, sort_keys=True) + "\n").encode())
    return Signature(**text)


def public_bytes(path: Path) -> bytes:
    """The 32 bytes of a public key, as a device holds them.

    Raises:
        UsageError: no such file, or not such a key.
    """
    return _public_key(path).public_bytes_raw()


def seal(values: bytes, package_sha256: str, key: Path, counter: int) -> bytes:
    """What makes a device take over values of learned tensors; see firmware/include/spk_signed.h.

    Args:
        values: the bytes of all learned tensors, in the order of the package's table.
        package_sha256: of the package that the device holds.
        key: of the private key.
        counter: a device that accepted it refuses lower ones.

    Returns:
        SEAL_BYTES: the counter, 4 bytes, and an Ed25519 signature.

    Raises:
        UsageError: no such key, or a counter that is out of range.
    """
    number = _checked_counter(counter).to_bytes(4, "little")
    package, digest = bytes.fromhex(package_sha256), hashlib.sha512(values).digest()
    return number + _private_key(key).sign(_SEAL_TEXT + number + package + digest)


def device_path(path: Path) -> Path:
    """Where a delta or a learned state lies as a device with a key takes it over."""
    return path.with_name(path.name + DEVICE_SUFFIX)


def read_sealed(path: Path) -> bytes:
    """What `spikelet sign` wrote beside a file for a device; empty where nothing lies.

    Raises:
        UsageError: it cannot be read.
    """
    beside = device_path(path)
    return _read(beside, _FILE_BYTES) if beside.exists() else b""


def tagged(values: bytes, package_sha256: str) -> bytes:
    """What `NAME_restore` takes: a tag of the package, and the values."""
    return bytes.fromhex(package_sha256)[:_TAG_BYTES] + values


def sealed_state(values: bytes, package_sha256: str, key: Path, counter: int) -> bytes:
    """What `NAME_restore_signed` takes; arguments and errors are those of `seal`."""
    return tagged(values, package_sha256) + seal(values, package_sha256, key, counter)


def expect_sealed(sealed: bytes, state: bytes, kind: str, name: str, how: str) -> bytes:
    """What lay beside a file for a device, if it is of this state; whether it is good that says.

    Args:
        sealed: see `read_sealed`.
        state: see `tagged`.
        kind: DELTA or STATE.
        name: the form of its files' names.
        how: the call of `spikelet sign`.

    Raises:
        SignatureError: there was none, or it is of other values.
    """
    if len(sealed) == len(state) + SEAL_BYTES and sealed.startswith(state):
        return sealed
    what = "is of other values" if sealed else "is missing"
    raise SignatureError(
        "the device takes over only what the holder of its key has signed; what is signed of this "
        f"{kind}, {name}{DEVICE_SUFFIX}, {what}",
        f"the {kind} was not signed for the device, was made again since, or its {DEVICE_SUFFIX} "
        "was left behind",
        f"`{how}` writes {name}{DEVICE_SUFFIX}",
    )


def read_signed(
    path: Path,
    trusted: Path | None,
    kind: str,
    read: Callable[[bytes | None], Loaded],
    name: Callable[[Loaded], str] | None = None,
) -> Loaded:
    """Read a file, once its signature is good where a key asks for one.

    Args:
        path: of the file.
        trusted: a public key; None for that of the variable, or none.
        kind: PACKAGE, DELTA or STATE.
        read: makes it of the bytes that were verified; of None where no key asks.
        name: that the signature must give of what was read; None for any.

    Raises:
        SignatureError: see `verified`; it is remembered only once it was read.
        UsageError: as `read` does.
    """
    key = demanded(trusted)
    if key is None:
        return read(None)
    data, signed = verified(path, key, kind)
    made = read(data)
    if name is not None:
        signed.expect_name(path, name(made))
    remember(path, key, signed)
    return made


def demanded(trusted: Path | None) -> Path | None:
    """The key that a file must be signed by: the one given, or that of the variable."""
    named = os.environ.get(TRUSTED)
    return trusted if trusted is not None else Path(named) if named else None


def verified(path: Path, trusted: Path, kind: str) -> tuple[bytes, Signature]:
    """The bytes of a file that is signed by a key, and its signature.

    Nothing of the file has been looked at but its hash. Its counter is not remembered yet: see
    `remember`.

    Raises:
        SignatureError: there is no signature; it is damaged, by another key, of another file or
            kind; or an older or another file of this counter than was seen.
        UsageError: no such key or file.
    """
    public = _public_key(trusted)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    given = _parsed(signature_path(path))
    if given.key != _key_id(public):
        raise SignatureError(
            f"{path}: it is signed by key {given.key}, not by {_key_id(public)} ({trusted})",
            "somebody else has signed it, or the key was changed",
            "get the file from whoever holds the key, or give the key that you trust",
        )
    if not _is_good(public, given):
        raise SignatureError(
            f"{path}: its signature is not one of key {given.key}",
            "it was forged, or altered after it was made",
            "do not use the file; get it again from whoever signed it",
        )
    data = _read(path, _FILE_BYTES)
    if hashlib.sha256(data).hexdigest() != given.sha256:
        raise SignatureError(
            f"{path}: it is not the file that was signed",
            "it was altered, truncated, or exchanged for another one",
            "get it again from whoever signed it",
        )
    if given.kind != kind:
        raise SignatureError(
            f"{path}: what was signed is a {given.kind}, not a {kind}",
            "one kind of file was given for another",
            "give the file that is meant",
        )
    _check_age(path, trusted, given)
    return data, given


def remember(path: Path, trusted: Path, given: Signature) -> None:
    """From now on, older ones than this are refused.

    Raises:
        SignatureError: another process has seen a newer one meanwhile.
        UsageError: the file of counters, KEY.seen, cannot be written.
    """
    file = _seen_path(trusted)
    with writing(file), hold(file.with_name(f"{file.name}.lock"), LOCK_S):
        _check_age(path, trusted, given)
        seen = {**_seen(file), f"{given.kind} {given.name}": [given.counter, given.sha256]}
        write_whole(file, (json.dumps(seen, indent=1, sort_keys=True) + "\n").encode())


def signature_path(path: Path) -> Path:
    """Where the signature of a file lies."""
    return path.with_name(path.name + SUFFIX)


def _checked_counter(counter: int) -> int:
    if not 0 < counter <= COUNTER_MAX:
        raise UsageError(f"counter {counter} is not within 1..{COUNTER_MAX}")
    return counter


def _check_age(path: Path, trusted: Path, given: Signature) -> None:
    counter, sha256 = _seen(_seen_path(trusted)).get(f"{given.kind} {given.name}", (0, ""))
    if given.counter < counter:
        raise SignatureError(
            f"{path}: {given.kind} {visible(given.name)} has the counter "
            f"{given.counter}, {counter} was seen already",
            "an older file was put in the place of a newer one",
            f"get the newest one; to go back on purpose sign it anew with --counter {counter + 1}",
        )
    if given.counter == counter and given.sha256 != sha256:
        raise SignatureError(
            f"{path}: another {given.kind} {visible(given.name)} of the counter "
            f"{counter} was seen already",
            "two files were signed with the same counter",
            f"sign the one that is meant with --counter {counter + 1}",
        )


def _seen_path(trusted: Path) -> Path:
    return trusted.with_name(trusted.name + ".seen")


def _seen(file: Path) -> dict[str, tuple[int, str]]:
    """Counters by kind and name; a file that is damaged is an error: it must not count as empty."""
    if not file.exists():
        return {}
    try:
        data = json.loads(_read(file, _SEEN_BYTES))
        return {str(name): (int(counter), str(sha)) for name, (counter, sha) in data.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: it does not hold the counters that were seen ({error})",
            "it was damaged or edited",
            "restore it; without it older files would be accepted again",
        ) from error


def _parsed(file: Path) -> Signature:
    if not file.is_file():
        raise SignatureError(
            f"{file.with_suffix('')}: it is not signed, there is no {file.name}",
            "a file from somebody who does not hold the key, or its signature was left behind",
            "`spikelet sign FILE --key KEY` signs one; without --trusted none is asked for",
        )
    try:
        data: Any = json.loads(_read(file, _SIG_BYTES))
        if not isinstance(data, Mapping) or data.keys() != _FIELDS.keys():
            raise ValueError("its entries are others")
        if any(type(data[name]) is not kind for name, kind in _FIELDS.items()):
            raise ValueError("an entry has another type")
        if data["format"] != _FORMAT or not 0 < data["counter"] <= COUNTER_MAX:
            raise ValueError("another format, or an impossible counter")
        return Signature(**data)
    except (ValueError, RecursionError) as error:
        raise SignatureError(
            f"{file}: not a signature ({error})",
            "it is truncated or damaged, or of another version",
            "get it again from whoever signed the file",
        ) from error


def _is_good(public: Ed25519PublicKey, given: Signature) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        public.verify(bytes.fromhex(given.signature), given.message())
    except (InvalidSignature, ValueError):
        return False
    return True


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(data) > limit:
        raise UsageError(f"{path}: it has more than {limit} bytes")
    return data


def _private_key(path: Path) -> Ed25519PrivateKey:
    _ed25519()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path, _KEY_BYTES), None)
    except (ValueError, TypeError) as error:
        raise _no_key(path, "private", error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _no_key(path, "private", "of another kind")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    _ed25519()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path, _KEY_BYTES))
    except ValueError as error:
        raise _no_key(path, "public", error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _no_key(path, "public", "of another kind")
    return key


def _no_key(path: Path, which: str, why: object) -> UsageError:
    return UsageError(
        f"{path}: not an Ed25519 {which} key ({str(why)[:80]})",
        "another file; KEY is private and signs, KEY.pub is public and is trusted",
        "`spikelet keygen KEY` makes both",
    )


def _key_id(public: Ed25519PublicKey) -> str:
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _ed25519() -> Any:
    """The module of the algorithm; raises UsageError where it is not installed."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError(
            "signatures need the Python package cryptography, which is not installed",
            "it is optional: nothing else needs it",
            "pip install 'spikelet[sign]'",
        ) from error
    return ed25519
