"""Readers of compressed streams: gzip, zstd, bzip2, xz, or none, told by the first bytes.

Owns decompression only; how much may come out is the caller's limit. Damage raises BadImage. gzip goes through ISA-L
where the machine has it, which is two to four times as fast as zlib. A library is loaded when a stream needs it: a process that
unpacks one layer waits for its imports.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

from runtime.errors import BadImage

if TYPE_CHECKING:
    import bz2
    import lzma

MAGIC_BYTES = 6
CHUNK_BYTES = 256 * 1024
ZSTD_WINDOW_BYTES = 128 * 1024 * 1024  # what `zstd --ultra` takes at most without --long
ZSTD_INPUT_BYTES = 16 * 1024
AHEAD_PIECES = 16  # of AHEAD_BYTES each, read before they are asked for
AHEAD_BYTES = 256 * 1024
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"

Read = Callable[[int], bytes]


class _Inflater(Protocol):
    """What zlib's, bz2's and lzma's decompressors are to this module."""

    @property
    def damage(self) -> tuple[type[Exception], ...]: ...
    @property
    def finished(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...
    def feed(self, data: bytes, max_bytes: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        import zlib

        from isal import igzip_lib, isal_zlib

        self._inner = isal_zlib.decompressobj(wbits=31)
        self.damage = (zlib.error, cast("type[Exception]", igzip_lib.IsalError))  # its stubs call it a value

    @property
    def finished(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_bytes)


class _Buffered:
    """bz2 and lzma keep their own unread input."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor, *damage: type[Exception]) -> None:
        self._inner = inner
        self.damage = damage

    @property
    def finished(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        return self._inner.decompress(data, max_bytes)


class _Zstd:
    """zstandard's decompressor gives all that a piece of input holds: input goes in by small pieces."""

    def __init__(self) -> None:
        import zstandard

        self.damage = (zstandard.ZstdError,)
        self._inner = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
        self._ready = b""
        self._waiting = b""

    @property
    def finished(self) -> bool:
        return self._inner.eof and not self._ready

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data + self._waiting

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        self._waiting += data
        while not self._ready and self._waiting and not self._inner.eof:
            piece, self._waiting = self._waiting[:ZSTD_INPUT_BYTES], self._waiting[ZSTD_INPUT_BYTES:]
            self._ready = self._inner.decompress(piece)
        out, self._ready = self._ready[:max_bytes], self._ready[max_bytes:]
        return out


def reader(read: Read) -> Read:
    """A read function of the uncompressed stream, whatever the stream is. Never holds more than a chunk of either
    side.
    """
    head = b""
    while len(head) < MAGIC_BYTES and (piece := read(MAGIC_BYTES - len(head))):
        head += piece
    source = _Pushback(read, head)
    if head.startswith(_ZSTD):
        return _Stream(source.read, _Zstd).read
    if head.startswith(_GZIP):
        return _Stream(source.read, _Gzip).read
    if head.startswith(_BZIP2):
        return _Stream(source.read, _bzip2).read
    if head.startswith(_XZ):
        return _Stream(source.read, _xz).read
    return source.read


def _bzip2() -> _Inflater:
    import bz2

    return _Buffered(bz2.BZ2Decompressor(), OSError)


def _xz() -> _Inflater:
    import lzma

    return _Buffered(lzma.LZMADecompressor(), lzma.LZMAError)


class _Pushback:
    def __init__(self, read: Read, head: bytes) -> None:
        self._read = read
        self._head = head

    def read(self, count: int) -> bytes:
        if self._head:
            piece, self._head = self._head[:count], self._head[count:]
            return piece
        return self._read(count)


class _Stream:
    """Members one after the other, as the programs write them."""

    def __init__(self, read: Read, make: Callable[[], _Inflater]) -> None:
        self._read = read
        self._make = make
        self._inflater = make()

    def read(self, count: int) -> bytes:
        if count <= 0:
            return b""
        data = b""
        while True:
            if self._inflater.finished:
                data = self._inflater.unused.lstrip(b"\0") or self._read(CHUNK_BYTES).lstrip(b"\0")
                if not data:
                    return b""
                self._inflater = self._make()
            try:
                out = self._inflater.feed(data, count)
            except self._inflater.damage:
                raise BadImage("the archive's compressed data is damaged") from None
            if out:
                return out
            if self._inflater.finished:
                continue
            data = self._read(CHUNK_BYTES)
            if not data:
                raise BadImage("unexpected EOF")


def ahead(read: Read) -> Read:
    """The same stream, read by a thread of its own: decompressing goes on while the last piece is being used."""
    return _Ahead(read).read


class _Ahead:
    """The thread ends with the stream; it is a daemon, so a reader that stops early keeps nobody."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._pieces: queue.Queue[bytes | BadImage | OSError] = queue.Queue(AHEAD_PIECES)
        self._rest = memoryview(b"")
        self._ended = False
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            while piece := self._read(AHEAD_BYTES):
                self._pieces.put(piece)
            self._pieces.put(b"")
        except (BadImage, OSError) as error:
            self._pieces.put(error)

    def read(self, count: int) -> bytes:
        if not self._rest and not self._ended:
            piece = self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            self._rest, self._ended = memoryview(piece), not piece
        out, self._rest = self._rest[:count], self._rest[count:]
        return bytes(out)
