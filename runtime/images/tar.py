"""Reading tar streams: headers and data, in order, everything bounded.

Owns the formats (ustar, GNU long names, pax, base-256 numbers; sparse files with sparse.py); never touches a file system. A damaged or oversized
stream raises BadImage. Written here because tarfile reads a pax header of any claimed size into memory and forgives
damage that a content store must not forgive. Source: POSIX.1-2017 pax interchange format; GNU tar manual, "Basic Tar
Format".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from runtime.errors import BadImage
from runtime.images import sparse

BLOCK_BYTES = 512
_HALF = BLOCK_BYTES // 2
MAX_EXTENDED_BYTES = 1024 * 1024  # one pax header or GNU long name
MAX_NAME_BYTES = 4096
COPY_BYTES = 1024 * 1024
XATTR_PREFIX = "SCHILY.xattr."
_NANOSECONDS = 1_000_000_000
_MAX_TIME_S = 1 << 40
_MAX_MAJOR, _MAX_MINOR = (1 << 12) - 1, (1 << 20) - 1  # the kernel's

_SPARSE_PAIRS = frozenset({f"{sparse.PREFIX}offset", f"{sparse.PREFIX}numbytes"})

Read = Callable[[int], bytes]


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


_KINDS = {
    b"0": Kind.FILE, b"\0": Kind.FILE, b"7": Kind.FILE, b"1": Kind.HARDLINK, b"2": Kind.SYMLINK, b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK, b"5": Kind.DIRECTORY, b"6": Kind.FIFO,
}  # fmt: skip


class Entry(NamedTuple):
    """One header. `name` and `target` are as in the archive (surrogateescape), unchecked."""

    name: str
    kind: Kind
    size_bytes: int
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    target: str = ""
    major: int = 0
    minor: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


class _Extended:
    """What pax and GNU headers say of the next entry."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.name: bytes | None = None
        self.target: bytes | None = None


class TarReader:
    """Iterate to get entries; `data()` gives the current entry's content in pieces (what is not read is skipped)."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._data_left = 0
        self._padding = 0
        self._global: dict[str, bytes] = {}
        self._sparse: dict[str, bytes] | None = None  # of a sparse file what pax says of it, nothing for GNU's own format
        self._map: sparse.SparseMap | None = None

    def __iter__(self) -> Iterator[Entry]:
        extended = _Extended()
        while True:
            self._skip_data()
            block = _exactly(self._read, BLOCK_BYTES, at_end_ok=True)
            if len(block) == 0 or block == bytes(BLOCK_BYTES):
                return
            _verify_checksum(block)
            size = _number(block[124:136])
            flag = block[156:157]
            if flag in b"xgLK" and flag:
                self._extend(extended, flag, size)
                continue
            entry, self._data_left = self._entry(block, flag, size, extended)
            extended = _Extended()
            self._padding = -self._data_left % BLOCK_BYTES
            if self._sparse is not None:
                entry = self._mapped(block, entry)
            yield entry

    def data(self) -> Iterator[bytes]:
        """The rest of the current entry's content. Raises BadImage when the stream ends early."""
        return self._packed(self._data_left) if self._map is None else self._map.expand(self._packed, bytes(COPY_BYTES))

    def _packed(self, count: int) -> Iterator[bytes]:
        """As it stands in the stream."""
        while count:
            piece = self._read(min(count, COPY_BYTES))
            if not piece:
                raise BadImage("unexpected EOF")
            count -= len(piece)
            self._data_left -= len(piece)
            yield piece

    def _skip_data(self) -> None:
        for _ in self._packed(self._data_left):
            pass
        self._map = self._sparse = None
        _exactly(self._read, self._padding)
        self._padding = 0

    def _mapped(self, block: bytes, entry: Entry) -> Entry:
        """The entry of a sparse file, with its real size; what comes before its content has been read then."""

        def more(count: int) -> bytes:
            return _exactly(self._read, count)

        records = self._sparse or {}
        if not records:
            self._map = sparse.of_header(block, self._data_left, more, _number)
        elif records.get(sparse.PREFIX + "major") == b"1":
            self._map, taken = sparse.of_content(records, self._data_left, more)
            self._data_left -= taken
        else:
            self._map = sparse.of_records(records, self._data_left)
        return entry._replace(size_bytes=self._map.real_size)

    def _extend(self, extended: _Extended, flag: bytes, size: int) -> None:
        if size > MAX_EXTENDED_BYTES:
            raise BadImage(f"an extended header of {size} bytes: at most {MAX_EXTENDED_BYTES} are read")
        content = _exactly(self._read, size)
        _exactly(self._read, -size % BLOCK_BYTES)
        if flag == b"x":
            extended.records.update(_pax_records(content))
        elif flag == b"g":
            self._global.update(_pax_records(content))
        elif flag == b"L":
            extended.name = content.partition(b"\0")[0]
        else:
            extended.target = content.partition(b"\0")[0]

    def _entry(self, block: bytes, flag: bytes, size: int, extended: _Extended) -> tuple[Entry, int]:
        """And how many bytes of content the stream holds."""
        records = {**self._global, **extended.records}
        if records and any(key.startswith(sparse.PREFIX) for key in records):
            self._sparse = {key: value for key, value in records.items() if key.startswith(sparse.PREFIX)}
        elif flag == b"S":
            self._sparse = {}
        kind = Kind.FILE if flag == b"S" else _KINDS.get(flag)
        if kind is None:
            raise BadImage(f"unhandled tar header type {flag[0] if flag else 0}")
        name = records.get(sparse.PREFIX + "name") or records.get("path") or extended.name or _ustar_name(block)
        target = records.get("linkpath") or extended.target or block[157:257].partition(b"\0")[0]
        if len(name) > MAX_NAME_BYTES or len(target) > MAX_NAME_BYTES:
            raise BadImage(f"a name of more than {MAX_NAME_BYTES} bytes")
        if b"\0" in name or b"\0" in target or (records and any("\0" in key for key in records)):
            raise BadImage("a name with a zero byte in it")
        if kind is Kind.FILE and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # as old archives wrote folders
        if "size" in records:
            size = _decimal(records["size"])
        mtime_ns = _pax_time(records["mtime"]) if "mtime" in records else _time(block[136:148])
        if kind is not Kind.FILE:
            size, self._sparse = 0, None
        return Entry(
            name=name.decode("utf-8", "surrogateescape"),
            kind=kind,
            size_bytes=size,
            mode=_number(block[100:108]) & 0o7777,
            uid=_owner(records.get("uid"), block[108:116]),
            gid=_owner(records.get("gid"), block[116:124]),
            mtime_ns=mtime_ns,
            target=target.decode("utf-8", "surrogateescape"),
            major=_device(block[329:337], _MAX_MAJOR) if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
            minor=_device(block[337:345], _MAX_MINOR) if kind in (Kind.CHARACTER, Kind.BLOCK) else 0,
            xattrs=tuple((k.removeprefix(XATTR_PREFIX), v) for k, v in records.items() if k.startswith(XATTR_PREFIX)) if records else (),
        ), size


def _exactly(read: Read, count: int, *, at_end_ok: bool = False) -> bytes:
    parts: list[bytes] = []
    left = count
    while left:
        piece = read(left)
        if not piece:
            if at_end_ok and left == count:
                return b""
            raise BadImage("unexpected EOF")
        parts.append(piece)
        left -= len(piece)
    return b"".join(parts)


def _verify_checksum(block: bytes) -> None:
    expected = _number(block[148:156])
    if _sum(block[:_HALF]) + _sum(block[_HALF:]) - sum(block[148:156]) + 8 * 0x20 != expected:
        raise BadImage("archive/tar: invalid tar header")


def _sum(half: bytes) -> int:
    """Of its bytes: the lower half of Adler-32 is one more, modulo 65521, which half a block can't reach. Sixteen times as fast as sum()."""
    return (zlib.adler32(half) & 0xFFFF) - 1


def _ustar_name(block: bytes) -> bytes:
    name = block[0:100].partition(b"\0")[0]
    if block[257:263] == b"ustar\0":
        prefix = block[345:500].partition(b"\0")[0]
        return prefix + b"/" + name if prefix else name
    return name


def _signed(field_: bytes) -> int:
    """A numeric field: octal text, or base-256 (two's complement) when the first bit is set."""
    if field_[0] & 0x80:
        value = int.from_bytes(field_, "big")
        bits = len(field_) * 8
        return value - (1 << bits) if field_[0] == 0xFF else value - (1 << (bits - 1))
    text = field_.partition(b"\0")[0].strip()
    if not text:
        return 0
    try:
        return int(text, 8)
    except ValueError:
        raise BadImage("archive/tar: invalid tar header") from None


def _number(field_: bytes) -> int:
    value = _signed(field_)
    if value < 0:
        raise BadImage("archive/tar: invalid tar header")
    return value


def _device(field_: bytes, largest: int) -> int:
    value = _number(field_)
    if value > largest:
        raise BadImage(f"device number {value} is out of range")
    return value


def _time(field_: bytes) -> int:
    seconds = _signed(field_)
    return max(-_MAX_TIME_S, min(seconds, _MAX_TIME_S)) * _NANOSECONDS


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise BadImage("archive/tar: invalid tar header")
    return int(text)


def _owner(record: bytes | None, field_: bytes) -> int:
    value = _number(field_) if record is None else _decimal(record)
    if value >= (1 << 32) - 1:
        raise BadImage(f"owner {value} is out of range")
    return value


def _pax_time(text: bytes) -> int:
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    if not whole.lstrip(b"-").isdigit() or (fraction and not fraction.isdigit()):
        raise BadImage("archive/tar: invalid tar header")
    seconds = min(int(whole.lstrip(b"-")[:20]), _MAX_TIME_S)
    total = seconds * _NANOSECONDS + int((fraction + b"0" * 9)[:9])
    return -total if negative else total


def _pax_records(content: bytes) -> dict[str, bytes]:
    records: dict[str, bytes] = {}
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 20)
        if space < 0 or not content[position:space].isdigit():
            raise BadImage("archive/tar: invalid tar header")
        end = position + int(content[position:space])
        key, equals, value = content[space + 1 : end].partition(b"=")
        if end > len(content) or end <= space or not equals or not value.endswith(b"\n"):
            raise BadImage("archive/tar: invalid tar header")
        name, value = key.decode("utf-8", "surrogateescape"), value[:-1]
        if name in _SPARSE_PAIRS:  # the only records that are repeated: a map of pax 0.0
            name = f"{sparse.PREFIX}map"
            value = b",".join((*filter(None, (records.get(name),)), value))
        records[name] = value
        position = end
    return records
