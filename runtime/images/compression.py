"""Readers of compressed streams: gzip, bzip2, xz, or none, told by the first bytes.

Owns decompression only; how much may come out is the caller's limit. Damage raises BadImage.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

from runtime.errors import BadImage

MAGIC_BYTES = 6
CHUNK_BYTES = 256 * 1024
_GZIP, _BZIP2, _XZ, _ZSTD = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"

Read = Callable[[int], bytes]


class _Inflater(Protocol):
    """What zlib's, bz2's and lzma's decompressors are to this module."""

    @property
    def finished(self) -> bool: ...
    @property
    def unused(self) -> bytes: ...
    def feed(self, data: bytes, max_bytes: int) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

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

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner

    @property
    def finished(self) -> bool:
        return self._inner.eof

    @property
    def unused(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes, max_bytes: int) -> bytes:
        return self._inner.decompress(data, max_bytes)


def reader(read: Read) -> Read:
    """A read function of the uncompressed stream, whatever the stream is. Never holds more than a chunk of either
    side.
    """
    head = b""
    while len(head) < MAGIC_BYTES and (piece := read(MAGIC_BYTES - len(head))):
        head += piece
    if head.startswith(_ZSTD):
        raise BadImage("zstd compression is not supported yet: load the image uncompressed or with gzip")
    source = _Pushback(read, head)
    if head.startswith(_GZIP):
        return _Stream(source.read, _Gzip).read
    if head.startswith(_BZIP2):
        return _Stream(source.read, lambda: _Buffered(bz2.BZ2Decompressor())).read
    if head.startswith(_XZ):
        return _Stream(source.read, lambda: _Buffered(lzma.LZMADecompressor())).read
    return source.read


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
            except (zlib.error, OSError, lzma.LZMAError):
                raise BadImage("the archive's compressed data is damaged") from None
            if out:
                return out
            if self._inflater.finished:
                continue
            data = self._read(CHUNK_BYTES)
            if not data:
                raise BadImage("unexpected EOF")
