"""One repository of one registry over HTTP: the only door to httpx.

Owns requests, redirects, challenges and what failures are called (in Docker's and Go's words); knows no store and
believes nothing about content: the callers compare digests. Everything waits for a bounded time without progress.
Cancelling any call closes its connection. Sources: OCI distribution specification 1.1; the distribution project's token
authentication.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Final

import httpx
import msgspec
import trio

from cluster.version import VERSION
from runtime.errors import BadImage, RegistryRefused, RegistryUnreachable
from runtime.images import auth
from runtime.images.auth import ANONYMOUS, Challenge, Credentials
from runtime.images.endpoints import INDEX_HOST, Endpoint, host_of
from runtime.images.manifest import ACCEPTED, MAX_MANIFEST_BYTES
from runtime.images.source import Blob

LOOKUP_TIMEOUT_S: Final = 2.0
CONNECT_TIMEOUT_S: Final = 10.0
STALL_TIMEOUT_S: Final = 30.0
"""Without a byte, in either direction."""

MAX_REDIRECTS: Final = 5
MAX_CONNECTIONS: Final = 8
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_TOKEN_BYTES: Final = 256 * 1024
MAX_MESSAGE_CHARACTERS: Final = 2048
MAX_TAGS: Final = 10_000
TAGS_PER_PAGE: Final = 1000
MAX_TAGS_PAGE_BYTES: Final = 1024 * 1024
MAX_FOUND_BYTES: Final = 1024 * 1024
_NEXT: Final = re.compile(r'<([^>]*)>;\s*rel="?next"?')
_TLS_PORT, _PLAIN_PORT = 443, 80
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_AGENT: Final = {"User-Agent": f"festoon/{VERSION}", "Accept-Encoding": "identity"}


class _Tags(msgspec.Struct):
    tags: list[str] | None = None


@asynccontextmanager
async def connect(endpoint: Endpoint, repository: str, credentials: Credentials, scopes: Sequence[str]) -> AsyncIterator[Registry]:
    """The repository at an endpoint that answers, with the user's rights for `scopes` (`repository:NAME:pull`). Raises
    RegistryUnreachable when nothing answers, RegistryRefused.
    """
    async with _opened(endpoint, f"{endpoint.url}/v2/") as client:
        registry = Registry(client, endpoint, repository, credentials, scopes)
        await registry.ping()
        yield registry


async def find(endpoint: Endpoint, query: str, credentials: Credentials) -> bytes:
    """What an index of the first protocol answers to a search (`q=TERM&n=LIMIT`). One that is not Docker's is greeted before. Raises
    RegistryUnreachable when nothing answers, RegistryRefused for any status but 200, BadImage for an answer that is too long."""
    url = f"{endpoint.url}/v1/search?{query}"
    greeting = "" if endpoint.host == INDEX_HOST else f"{endpoint.url}/v1/_ping"
    headers = {"X-Docker-Token": "true"} | ({"Authorization": credentials.basic} if credentials.username else {})
    async with _opened(endpoint, greeting or url) as client:
        registry = Registry(client, endpoint, "", ANONYMOUS, ())
        if greeting:
            async with registry.exchange("GET", greeting, unauthorized=True):
                pass
        async with registry.exchange("GET", url, headers, unauthorized=True) as response:
            if response.status_code != HTTPStatus.OK:
                raise RegistryRefused(f"Unexpected status code {response.status_code}")
            return await _whole(response, MAX_FOUND_BYTES, "an index's answer")


@asynccontextmanager
async def _opened(endpoint: Endpoint, first: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client for the endpoint, of which `first` will be asked. Raises RegistryUnreachable where its name means nothing."""
    proxied = _is_proxied(endpoint)
    if not proxied:
        await _look_up(endpoint, first)
    async with httpx.AsyncClient(
        verify=_tls(endpoint),
        timeout=httpx.Timeout(STALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=MAX_CONNECTIONS),
        headers=_AGENT,
        trust_env=proxied,
    ) as client:
        yield client


class Registry:
    """State: the client's connections, and the authorization that the registry gave."""

    def __init__(self, client: httpx.AsyncClient, endpoint: Endpoint, repository: str, credentials: Credentials, scopes: Sequence[str]) -> None:
        self._client, self._endpoint = client, endpoint
        self._base = f"{endpoint.url}/v2/{repository}"
        self._credentials, self._scopes = credentials, tuple(scopes)
        self._authorization = f"Bearer {credentials.registry_token}" if credentials.registry_token else ""
        self._origin = _origin(httpx.URL(endpoint.url))

    async def ping(self) -> None:
        """Ask whether there is a registry; a challenge is answered at once."""
        async with self.exchange("GET", f"{self._endpoint.url}/v2/", unauthorized=True) as response:
            if response.status_code == HTTPStatus.UNAUTHORIZED:
                challenge = _best(response)
                if challenge is not None and (challenge.scheme == "bearer" or self._credentials.username):
                    await self._authenticate(challenge, response)

    async def login(self) -> None:
        """Raises RegistryRefused (401) when the registry does not know these credentials."""
        url = f"{self._endpoint.url}/v2/"
        async with self.exchange("GET", url, unauthorized=True) as response:
            if response.status_code >= HTTPStatus.BAD_REQUEST:
                status = f"{response.status_code} {response.reason_phrase}".rstrip()
                raise RegistryRefused(f"login attempt to {url} failed with status: {status}", "UNAUTHORIZED", 401)

    async def manifest(self, reference: str) -> tuple[str, bytes]:
        """(content type, bytes) of a tag's or digest's manifest. Raises RegistryRefused, BadImage when it is too long."""
        accept = {"Accept": ", ".join(ACCEPTED)}
        async with self.exchange("GET", f"{self._base}/manifests/{reference}", accept) as response:
            return response.headers.get("content-type", ""), await _whole(response, MAX_MANIFEST_BYTES, "a manifest")

    async def tags(self) -> tuple[str, ...]:
        """All tags of the repository. Raises RegistryRefused, also when it says what is no list of tags, or has too many."""
        url = f"{self._base}/tags/list?n={TAGS_PER_PAGE}"
        found: list[str] = []
        while url:
            async with self.exchange("GET", url) as response:
                page = await _whole(response, MAX_TAGS_PAGE_BYTES, "a list of tags")
                try:
                    found += msgspec.json.decode(page, type=_Tags).tags or ()
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    raise RegistryRefused(f"{_said('GET', url)}: not a list of tags: {error}") from error
                following = _NEXT.search(response.headers.get("link", ""))
                url = self._allowed(str(httpx.URL(url).join(following[1]))) if following else ""
            if len(found) > MAX_TAGS:
                raise RegistryRefused(f"the repository has more than {MAX_TAGS} tags")
        return tuple(found)

    async def small_blob(self, digest: str, limit_bytes: int) -> bytes:
        async with self.exchange("GET", f"{self._base}/blobs/{digest}") as response:
            return await _whole(response, limit_bytes, f"blob {digest}")

    @asynccontextmanager
    async def blob(self, digest: str, offset: int = 0) -> AsyncIterator[Blob]:
        """The blob from `offset` on, or from its beginning where the registry can't do that."""
        wanted = {"Range": f"bytes={offset}-"} if offset else {}
        url = f"{self._base}/blobs/{digest}"
        async with self.exchange("GET", url, wanted, also=frozenset({HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})) as response:
            if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise RegistryRefused(f"the registry has no byte {offset} of {digest}", "RANGE_INVALID")
            start = _range_start(response.headers.get("content-range", "")) if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
            async with _reading(response) as pieces:
                yield Blob(start, pieces)

    async def has_blob(self, digest: str) -> bool:
        async with self.exchange("HEAD", f"{self._base}/blobs/{digest}", also=frozenset({HTTPStatus.NOT_FOUND})) as response:
            return response.status_code == HTTPStatus.OK

    async def begin_upload(self, *, mount: str = "", source: str = "") -> str:
        """Where to send a blob; empty when the registry took it over from repository `source` by its digest `mount`."""
        query = f"?{httpx.QueryParams({'mount': mount, 'from': source})}" if mount else ""
        async with self.exchange("POST", f"{self._base}/blobs/uploads/{query}", {"Content-Length": "0"}) as response:
            return "" if response.status_code == HTTPStatus.CREATED else self._location(response)

    async def send(self, location: str, offset: int, data: bytes) -> str:
        """One piece of a blob; returns where the next goes."""
        where = {"Content-Range": f"{offset}-{offset + len(data) - 1}", "Content-Type": "application/octet-stream"}
        async with self.exchange("PATCH", location, where, data) as response:
            return self._location(response)

    async def sent(self, location: str) -> tuple[str, int]:
        """After an interruption: where to go on, and how many bytes the registry has."""
        async with self.exchange("GET", location) as response:
            last = response.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
            return self._location(response), int(last) + 1 if last.isascii() and last.isdigit() and len(last) < 20 and last != "0" else 0

    async def end_upload(self, location: str, digest: str) -> None:
        url = httpx.URL(location).copy_add_param("digest", digest)
        async with self.exchange("PUT", str(url), {"Content-Length": "0"}) as response:
            said = response.headers.get("docker-content-digest", digest)
            if said != digest:
                raise RegistryRefused(f"the registry stored {said} in place of {digest}", "DIGEST_INVALID")

    async def put_manifest(self, tag: str, media_type: str, raw: bytes, digest: str) -> None:
        async with self.exchange("PUT", f"{self._base}/manifests/{tag}", {"Content-Type": media_type}, raw) as response:
            said = response.headers.get("docker-content-digest", digest)
            if said != digest:
                raise RegistryRefused(f"the registry stored {said} in place of {digest}", "DIGEST_INVALID")

    # --- one exchange
    @asynccontextmanager
    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, content: bytes | None = None, *,
        also: frozenset[int] = frozenset(), unauthorized: bool = False,
    ) -> AsyncIterator[httpx.Response]:  # fmt: skip
        """Send, follow, authenticate once; every status but success and `also` is raised."""
        response = await self._send(method, url, headers or {}, content)
        try:
            if response.status_code == HTTPStatus.UNAUTHORIZED and not unauthorized:
                challenge = _best(response)
                if challenge is not None:
                    await self._authenticate(challenge, response)
                    await response.aclose()
                    response = await self._send(method, url, headers or {}, content)
            if response.status_code >= HTTPStatus.BAD_REQUEST and response.status_code not in also and not unauthorized:
                raise await _refusal(response)
            yield response
        except httpx.TransportError as error:
            raise RegistryUnreachable(f"{_said(method, url)}: {_reason(error, url)}") from error
        finally:
            with trio.CancelScope(shield=True):
                await response.aclose()

    async def _send(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> httpx.Response:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send_once(method, url, headers, content)
            target = response.headers.get("location", "")
            if response.status_code not in _REDIRECTS or method not in ("GET", "HEAD") or not target:
                return response
            await response.aclose()
            url = self._allowed(str(httpx.URL(url).join(target)))
        raise RegistryRefused(f"{_said(method, url)}: stopped after {MAX_REDIRECTS} redirects")

    async def _send_once(self, method: str, url: str, headers: Mapping[str, str], content: bytes | None) -> httpx.Response:
        own = dict(headers)
        try:
            if self._authorization and _origin(httpx.URL(url)) == self._origin:
                own["Authorization"] = self._authorization
            return await self._client.send(self._client.build_request(method, url, headers=own, content=content), stream=True)
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise RegistryUnreachable(f"{_said(method, url)}: {_reason(error, url)}") from error

    async def _authenticate(self, challenge: Challenge, response: httpx.Response) -> None:
        """Take what the challenge asks for into use. Raises RegistryRefused in Docker's words."""
        if challenge.scheme == "basic":
            if not self._credentials.username:
                raise RegistryRefused(f"{_said(response.request.method, str(response.request.url))}: no basic auth credentials", "UNAUTHORIZED")
            self._authorization = self._credentials.basic
            return
        asked = auth.token_request(challenge, self._scopes, self._credentials)
        url = self._allowed(asked.url)
        headers = {"Authorization": asked.authorization} if asked.authorization else {}
        if asked.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        method = "POST" if asked.form else "GET"
        try:
            request = self._client.build_request(method, url, headers=headers, content=asked.form or None)
            answer = await self._client.send(request, stream=True)
            try:
                if answer.status_code >= HTTPStatus.BAD_REQUEST:
                    raise await _refusal(answer)
                token = auth.token_of(await _whole(answer, MAX_TOKEN_BYTES, "a token"))
            finally:
                with trio.CancelScope(shield=True):
                    await answer.aclose()
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise RegistryUnreachable(f"{_said(method, url)}: {_reason(error, url)}") from error
        if not token:
            raise RegistryRefused("authorization server did not include a token in the response", "UNAUTHORIZED")
        self._authorization = f"Bearer {token}"

    def _allowed(self, url: str) -> str:
        """Refuse to be led from a checked connection to an unchecked one."""
        try:
            scheme = httpx.URL(url).scheme
        except httpx.InvalidURL:
            scheme = ""
        if scheme != "https" and not (scheme == "http" and not self._endpoint.verified) and not (scheme == "http" and self._origin[0] == "http"):
            raise RegistryRefused(f"the registry {self._endpoint.host} leads to {url[:200]}, which is not HTTPS")
        return url

    def _location(self, response: httpx.Response) -> str:
        target = response.headers.get("location", "")
        if not target:
            raise RegistryRefused("the registry did not say where to upload")
        return self._allowed(str(response.request.url.join(target)))


def _best(response: httpx.Response) -> Challenge | None:
    offered = [c for header in response.headers.get_list("www-authenticate") for c in auth.challenges(header)]
    bearer = [c for c in offered if c.scheme == "bearer" and c.realm]
    return next(iter(bearer or [c for c in offered if c.scheme == "basic"]), None)


@asynccontextmanager
async def _reading(response: httpx.Response) -> AsyncIterator[AsyncIterator[bytes]]:
    """The answer's bytes. Who leaves before their end closes the connection, and httpx's iterators are run to their end,
    which comes at once then: none is left for the garbage collector.
    """
    pieces = response.aiter_raw()
    try:
        yield pieces
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()
            with suppress(httpx.HTTPError, httpx.StreamError):
                async for _ in pieces:
                    continue


async def _whole(response: httpx.Response, limit_bytes: int, what: str) -> bytes:
    data = bytearray()
    async with _reading(response) as pieces:
        async for piece in pieces:
            data += piece
            if len(data) > limit_bytes:
                raise BadImage(f"{what} of more than {limit_bytes} bytes")
    return bytes(data)


async def _refusal(response: httpx.Response) -> RegistryRefused | RegistryUnreachable:
    """What an error answer says: the first of its errors."""
    status = response.status_code
    body = bytearray()
    if response.request.method != "HEAD":
        async with _reading(response) as pieces:
            async for piece in pieces:
                body += piece
                if len(body) > MAX_ERROR_BYTES:
                    break
    code, message = _first_error(bytes(body[:MAX_ERROR_BYTES]))
    if not code and status == HTTPStatus.UNAUTHORIZED:
        code, message = "UNAUTHORIZED", message or "authentication required"
    if code:
        words = code.lower().replace("_", " ")
        return RegistryRefused(f"{words}: {message}" if message else words, code)
    line = f"received unexpected HTTP status: {status} {response.reason_phrase}".rstrip()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return RegistryUnreachable(line)
    return RegistryRefused(line, "NOT_FOUND" if status == HTTPStatus.NOT_FOUND else "")


def _first_error(body: bytes) -> tuple[str, str]:
    try:
        document = json.loads(body)
        first = document["errors"][0]
        return str(first["code"])[:64], str(first.get("message") or "")[:MAX_MESSAGE_CHARACTERS]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return "", ""


def _range_start(header: str) -> int:
    """`bytes 100-199/200` -> 100; what can't be read starts over."""
    first = header.removeprefix("bytes ").strip().partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() and len(first) < 20 else 0


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or (_TLS_PORT if url.scheme == "https" else _PLAIN_PORT)


def _tls(endpoint: Endpoint) -> ssl.SSLContext | bool:
    if endpoint.url.startswith("http://"):
        return False
    context = ssl.create_default_context()
    _add_own(context, Path(endpoint.certificates))
    if not endpoint.verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _add_own(context: ssl.SSLContext, folder: Path) -> None:
    """What the node was given for this registry: authorities (`*.crt`), certificates of its own (`*.cert` with `*.key`). Raises
    RegistryUnreachable for a file that is none."""
    if not folder.name or not folder.is_dir():
        return
    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".crt":
                context.load_verify_locations(file)
            elif file.suffix == ".cert":
                context.load_cert_chain(file, file.with_suffix(".key"))
        except (OSError, ssl.SSLError) as error:
            raise RegistryUnreachable(f"could not use {file}: {error}") from error


def _is_proxied(endpoint: Endpoint) -> bool:
    scheme = endpoint.url.partition(":")[0]
    host = host_of(endpoint.host)
    return endpoint.verified and scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host)


async def _look_up(endpoint: Endpoint, first: str) -> None:
    """Ask for the host's address before anything connects: a resolver that does not answer costs LOOKUP_TIMEOUT_S."""
    host = host_of(endpoint.host)
    why = ""
    with trio.move_on_after(LOOKUP_TIMEOUT_S) as scope:
        try:
            await trio.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            why = "server misbehaving" if error.errno == socket.EAI_AGAIN else "no such host"
        except UnicodeError:
            why = "no such host"
    if scope.cancelled_caught:
        why = "i/o timeout"
    if why:
        raise RegistryUnreachable(f'Get "{first}": dial tcp: lookup {host}: {why}')


def _said(method: str, url: str) -> str:
    """Go's way to name a request."""
    return f'{method.capitalize()} "{url}"'


def _reason(error: Exception, url: str) -> str:
    """Why a request failed, in Go's words where they are known."""
    where = url.partition("://")[2].partition("/")[0]
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            unknown = cause.verify_code in (18, 19, 20)
            return f"tls: failed to verify certificate: x509: {'certificate signed by unknown authority' if unknown else cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            plain = cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_MESSAGE")
            return "http: server gave HTTP response to HTTPS client" if plain else f"remote error: tls: {(cause.reason or str(cause)).lower()}"
        if isinstance(cause, OSError) and cause.errno:
            words = os.strerror(cause.errno).lower()
            return f"dial tcp {where}: connect: {words}" if isinstance(error, httpx.ConnectError) else words
    if isinstance(error, httpx.ConnectTimeout):
        return f"dial tcp {where}: i/o timeout"
    if isinstance(error, httpx.TimeoutException):
        return f"net/http: no byte came for {STALL_TIMEOUT_S:.0f} s"
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return "unexpected EOF"
    return str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, depth first."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [e for e in (current.__context__, current.__cause__) if e is not None]
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
