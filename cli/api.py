"""The Engine API as the command line uses it: JSON in, JSON out, failures as one sentence.

Owns the address and the version prefix; never prints. Imports no trio: start-up time is the user's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import EACCES, ECONNREFUSED, ETIMEDOUT
from http import HTTPStatus
from socket import EAI_AGAIN, socket
from typing import TYPE_CHECKING, Any, Final

from cli import configuration
from cli.failures import ApiFailure, CliFailure
from cluster.wire.http_client import Answer, ConnectionFailed, HttpClient, Whole
from cluster.wire.http_events import Headers

if TYPE_CHECKING:
    from ssl import SSLContext

    from cli.ssh import Dialer

API_VERSION: Final = os.environ.get("DOCKER_API_VERSION", "").removeprefix("v") or "1.51"
DEFAULT_HOST: Final = "unix:///run/festoon/festoon.sock"
_NOBODY: Final = frozenset({ECONNREFUSED, ETIMEDOUT, EAI_AGAIN})
_JSON: Final = (("Content-Type", "application/json"),)
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_IN_PATH: Final = _UNRESERVED | frozenset(b"/:@")


class Api:
    """One daemon. Each request opens a connection of its own. `program`: what the user calls us."""

    def __init__(
        self,
        host: str,
        program: str = "festoon",
        *,
        context: str = "",
        tls: Callable[[], SSLContext] | None = None,
        trouble: str = "",
        settings: configuration.Settings | None = None,
    ) -> None:
        """`context`: the one that was asked for by its flag. `trouble`: why there is no daemon to talk to, said when one is needed. `settings`: what the
        user has chosen (cli/configuration.py)."""
        self.settings: configuration.Settings = settings or {}
        self._headers = configuration.headers(self.settings)
        self._trouble = trouble
        self.host = host
        self.program = program
        self.context = context
        self._dialer = _dialer(host)
        self._encrypts = tls is not None
        self._client = HttpClient(host, tls, self._dialer.connect if self._dialer else None)

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path. Raises ApiFailure, CliFailure when there is no daemon."""
        return self.send("GET", path, **query)

    def post(self, path: str, body: object = None, /, headers: Headers = (), **query: Any) -> Any:
        return self.send("POST", path, body, headers, **query)

    def delete(self, path: str, **query: Any) -> Any:
        return self.send("DELETE", path, **query)

    def send(self, method: str, path: str, body: object = None, /, headers: Headers = (), **query: Any) -> Any:
        """One exchange; None for an empty answer."""
        data, target = _encoded(body), _target(path, query)
        with self._connected(method, target):
            answer = self._client.request(method, target, body=data, headers=(*(_JSON if data else ()), *headers, *self._headers))
        return _value(answer)

    def find(self, path: str, **query: Any) -> Any:
        """The JSON at a path, or None when there is no such object."""
        try:
            return self.get(path, **query)
        except ApiFailure as e:
            if e.http_status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def ping(self) -> None:
        """Raises CliFailure when there is no daemon."""
        with self._connected("HEAD", "/_ping"):
            self._client.request("HEAD", "/_ping")

    @contextmanager
    def stream(
        self, method: str, path: str, /, body: bytes | Iterable[bytes] = b"", headers: Headers = (), **query: Any
    ) -> Iterator[Answer]:
        """An answer that is read as it comes. Raises ApiFailure before the first byte, CliFailure when it breaks
        off."""
        target = _target(path, query)
        with self._connected(method, target), self._client.stream(method, target, body=body, headers=(*headers, *self._headers)) as answer:
            if answer.status >= HTTPStatus.BAD_REQUEST:
                _value(Whole(answer.status, answer.headers, answer.read()))
            yield answer

    @contextmanager
    def connection(self) -> Iterator[socket]:
        """The daemon's socket, on which nothing was said yet. Raises CliFailure when there is none."""
        with self._connected(), self._client.connect() as connected:
            yield connected

    @contextmanager
    def hijack(self, path: str, body: object = None, **query: Any) -> Iterator[tuple[socket, bytes]]:
        """The raw connection after a POST, and the bytes that came with the answer. Raises ApiFailure when the
        daemon refuses."""
        data, target = _encoded(body), _target(path, query)
        headers = (*(_JSON if data else ()), *self._headers)
        with self._connected("POST", target), self._client.hijack("POST", target, body=data, headers=headers) as got:
            if isinstance(got, Whole):
                _value(got)
                raise CliFailure(f"unable to upgrade to tcp, received {got.status}")
            yield got

    @contextmanager
    def _connected(self, method: str = "", target: str = "") -> Iterator[None]:
        """`method`, `target`: what is asked, for the sentence about a connection that fails."""
        if self._trouble:
            raise CliFailure(self._trouble)
        try:
            yield
        except ConnectionFailed as e:
            why = self._dialer.failure() if self._dialer else ""
            raise CliFailure(f"error during connect: {why}" if why else self._no_daemon(e, method, target)) from e

    def _no_daemon(self, failure: ConnectionFailed, method: str, target: str) -> str:
        """As Docker's client: nobody there is one thing, a connection that fails for another reason is said with it."""
        if failure.errno == EACCES:
            return f"permission denied while trying to connect to the Festoon daemon socket at {self.host}"
        if failure.errno in _NOBODY or (failure.errno and self.host.startswith("unix:")):
            return f"Cannot connect to the Festoon daemon at {self.host}. Is the festoon daemon running?"
        scheme, _, rest = self.host.partition("://")
        url = f"{'https' if self._encrypts else 'http'}://{_quoted(rest, _UNRESERVED) if scheme == 'unix' else rest}{target}"
        return f'error during connect: {method.capitalize()} "{url}": {failure.why}' if method else f"error during connect: {failure.why}"


def _dialer(host: str) -> Dialer | None:
    if not host.startswith("ssh://"):
        return None
    from cli.ssh import Dialer

    return Dialer(host)


def _encoded(body: object) -> bytes:
    """Bytes of the command line that are no UTF-8 (surrogates, in Python) become U+FFFD, as in Docker's client."""
    if body is None:
        return b""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()


def reference(text: str, kind: str = "") -> str:
    """A name or id as a part of a path; image names keep their slashes. `kind`: of what. Raises CliFailure for none, which would be the path of all."""
    if kind and not text.strip():
        raise CliFailure(f"invalid {kind} name or ID: value is empty")
    return _quoted(text, _IN_PATH)


def _quoted(text: str, kept: frozenset[int]) -> str:
    """RFC 3986, section 2.1. (urllib costs three milliseconds of every command.)"""
    return "".join(chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape"))


def filters_of(given: Iterable[str]) -> dict[str, list[str]] | None:
    """`--filter key=value` flags as the API's map; None when there are none."""
    found: dict[str, list[str]] = {}
    for text in filter(None, given):
        key, _, value = text.partition("=")
        found.setdefault(key.strip().lower(), []).append(value.strip())
    return found or None


def _target(path: str, query: dict[str, Any]) -> str:
    pairs = []
    for name, value in query.items():
        if value is None or value is False or value == "":
            continue
        many = value if isinstance(value, list) else [value]
        pairs += [(name, "1" if v is True else json.dumps(v) if isinstance(v, dict) else str(v)) for v in many]
    return f"/v{API_VERSION}{path}" + ("?" + "&".join(f"{_quoted(name, _UNRESERVED)}={_quoted(value, _UNRESERVED)}" for name, value in pairs) if pairs else "")


def _value(answer: Whole) -> Any:
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise ApiFailure(_reason(answer), answer.status)
    if not answer.body.strip():
        return None
    try:
        return json.loads(answer.body)
    except ValueError as e:
        raise CliFailure(f"the daemon's answer is not JSON: {e}") from e


def _reason(answer: Whole) -> str:
    try:
        message = json.loads(answer.body)["message"]
    except (ValueError, KeyError, TypeError):
        return answer.body.decode(errors="replace").strip() or f"status {answer.status}"
    return str(message).strip()
