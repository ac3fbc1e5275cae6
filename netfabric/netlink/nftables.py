"""libnftables by ctypes: transactions and listings of one network namespace, without a process.

Owns the library's context. Text in, text out: what the rules mean is firewall's and ingress's business. The library
is loaded at the first use. Not for several threads at once. Sources: libnftables(3), libnftables-json(5).
"""

from __future__ import annotations

import ctypes
import functools
import json
from types import TracebackType
from typing import Any, Self

from netfabric.netlink.netns import in_namespace

_LIBRARY = "libnftables.so.1"
_OUTPUT_STATELESS = 1 << 2
_OUTPUT_HANDLE = 1 << 3
_OUTPUT_JSON = 1 << 4


class NftablesError(Exception):
    """libnftables refused a transaction: its own words and the text that it was given."""

    def __init__(self, reason: str, commands: str) -> None:
        super().__init__(f"nft: {' '.join(reason.split())}")
        self.commands = commands


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(_LIBRARY)
    context = ctypes.c_void_p
    library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], context
    library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [context], None
    library.nft_ctx_buffer_output.argtypes = [context]
    library.nft_ctx_buffer_error.argtypes = [context]
    library.nft_ctx_get_output_buffer.argtypes, library.nft_ctx_get_output_buffer.restype = [context], ctypes.c_char_p
    library.nft_ctx_get_error_buffer.argtypes, library.nft_ctx_get_error_buffer.restype = [context], ctypes.c_char_p
    library.nft_ctx_output_set_flags.argtypes, library.nft_ctx_output_set_flags.restype = [context, ctypes.c_uint], None
    library.nft_run_cmd_from_buffer.argtypes = [context, ctypes.c_char_p]
    return library


class Nftables:
    """A context in the namespace behind a descriptor, which must stay open as long as this does."""

    def __init__(self, namespace: int) -> None:
        """Raises OSError when the library is missing or the namespace can't be entered."""
        self._namespace = namespace
        self._library = _library()
        with in_namespace(namespace):
            self._context: int | None = self._library.nft_ctx_new(0)
        if not self._context:
            raise OSError("nft_ctx_new: no context")
        self._library.nft_ctx_buffer_output(self._context)
        self._library.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def run(self, commands: str, *, stateless: bool = False, handles: bool = False) -> str:
        """Carries out all commands as one transaction, or none; returns what they print. Raises NftablesError.

        `stateless` leaves counters and the like out of listings, `handles` puts the kernel's numbers into them.
        """
        return self._run(commands, (_OUTPUT_STATELESS if stateless else 0) | (_OUTPUT_HANDLE if handles else 0))

    def run_json(self, command: str) -> list[dict[str, Any]]:
        """The objects that a list command prints, without the leading metainfo. Raises NftablesError."""
        objects: list[dict[str, Any]] = json.loads(self._run(command, _OUTPUT_JSON) or "{}").get("nftables", [])
        return [one for one in objects if "metainfo" not in one]

    def _run(self, commands: str, flags: int) -> str:
        assert self._context, "the context is closed"
        self._library.nft_ctx_output_set_flags(self._context, flags)
        with in_namespace(self._namespace):  # the library reopens its socket when a listing was interrupted
            status = self._library.nft_run_cmd_from_buffer(self._context, commands.encode() + b"\n")
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if status != 0:
            raise NftablesError(error.decode(errors="replace"), commands)
        return output.decode()
