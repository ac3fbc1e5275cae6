"""Credentials and the challenges of registries. Pure: texts in, values and headers out; registry.py sends them.

Sources: RFC 9110 section 11 (challenges), RFC 7617 (Basic), the distribution project's token authentication, the Engine
API's X-Registry-Auth.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

MAX_HEADER_CHARACTERS = 64 * 1024
MAX_CHALLENGE_CHARACTERS = 8 * 1024
MAX_TOKEN_CHARACTERS = 64 * 1024
CLIENT_ID = "festoon"

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9._~+-]*)(?:\s+(?![\s=])|(?=,)|$)")
_PARAMETER = re.compile(r"\s*,?\s*([A-Za-z0-9_.-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who asks. `identity_token` is exchanged for tokens, `registry_token` is one."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""
    server: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"  # never in a log

    @property
    def basic(self) -> str:
        """The Authorization header's value."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


ANONYMOUS = Credentials()


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in: `scheme` is lower case; `realm`, `service`, `scope` may be empty."""

    scheme: str
    realm: str = ""
    service: str = ""
    scope: str = ""


def challenges(header: str) -> tuple[Challenge, ...]:
    """What a WWW-Authenticate header offers. What can't be read is left out."""
    found: list[Challenge] = []
    position, header = 0, header[:MAX_CHALLENGE_CHARACTERS]
    while match := _SCHEME.match(header, position):
        position = match.end()
        values: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, position):
            position = parameter.end()
            quoted = parameter[2]
            values.setdefault(parameter[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else parameter[3])
        found.append(Challenge(match[1].lower(), values.get("realm", ""), values.get("service", ""), values.get("scope", "")))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to send to a realm: a GET, or a POST when there is a `form`."""

    url: str
    authorization: str = ""
    form: bytes = b""


def token_request(challenge: Challenge, scopes: Iterable[str], credentials: Credentials) -> TokenRequest:
    """How to get a token for these scopes (`repository:NAME:pull`)."""
    wanted = [scope for scope in dict.fromkeys((*challenge.scope.split(), *scopes)) if scope]
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": challenge.service,
            "client_id": CLIENT_ID,
            "scope": " ".join(wanted),
            "refresh_token": credentials.identity_token,
        }
        return TokenRequest(challenge.realm, form=urlencode(form).encode())
    query = [("service", challenge.service)] if challenge.service else []
    if credentials.username:
        query.append(("account", credentials.username))
    query += [("scope", scope) for scope in wanted]
    separator = "&" if urlsplit(challenge.realm).query else "?"
    return TokenRequest(f"{challenge.realm}{separator}{urlencode(query)}", credentials.basic if credentials.username else "")


def token_of(body: bytes) -> str:
    """The token in a realm's answer; empty when there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    token = document.get("token") or document.get("access_token") or ""
    sane = isinstance(token, str) and len(token) <= MAX_TOKEN_CHARACTERS and token.isascii() and token.isprintable()
    return token if sane else ""


def from_header(header: str) -> Credentials:
    """X-Registry-Auth: base64url of a JSON object. What can't be read is nobody, as in Docker."""
    if not header or len(header) > MAX_HEADER_CHARACTERS:
        return ANONYMOUS
    try:
        document = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return ANONYMOUS
    return from_document(document)


def from_document(document: object) -> Credentials:
    """An AuthConfig of the Engine API."""
    if not isinstance(document, dict):
        return ANONYMOUS

    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if not username and text("auth"):
        try:
            username, _, password = base64.b64decode(text("auth"), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return ANONYMOUS
    return Credentials(username, password.rstrip("\0"), text("identitytoken"), text("registrytoken"), text("serveraddress"))
