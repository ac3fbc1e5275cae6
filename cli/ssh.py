"""A daemon behind ssh://[USER@]HOST[:PORT]: the system's own ssh runs `festoon system dial-stdio` there, and its streams are the connection.

Owns the address's form and ssh's process; keys, agents and known hosts are ssh's. Source: docker/cli's cli/connhelper/ssh.
"""

from __future__ import annotations

import subprocess
from socket import AF_UNIX, SOCK_STREAM, socket, socketpair
from tempfile import TemporaryFile
from typing import IO, Final
from urllib.parse import urlsplit

from cli.failures import CliFailure

SCHEME: Final = "ssh://"
END_TIMEOUT_S: Final = 5.0
STDERR_MAX_BYTES: Final = 4096
_REMOTE: Final = ("festoon", "system", "dial-stdio")


def command_of(address: str) -> list[str]:
    """Raises CliFailure for an address that is none, in docker's words."""
    try:
        url, port = urlsplit(address), urlsplit(address).port
    except ValueError:
        raise CliFailure(f'Failed to initialize: parse "{address}": invalid port ":{urlsplit(address).netloc.rpartition(":")[2]}" after host') from None
    wrong = ""
    if url.password is not None:
        wrong = "plain-text password is not supported"
    elif not url.hostname:
        wrong = "hostname is empty"
    elif url.path:
        wrong = f'extra path after the host: "{url.path}"'
    elif url.query or url.fragment:
        wrong = f'query parameters are not allowed: "{url.query}"' if url.query else f'fragments are not allowed: "{url.fragment}"'
    if wrong:
        raise CliFailure(f"Failed to initialize: ssh host connection is not valid: invalid SSH URL: {wrong}")
    user = ("-l", url.username) if url.username else ()
    return ["ssh", "-o", "ConnectTimeout=30", "-T", *user, *(("-p", str(port)) if port else ()), "--", str(url.hostname), *_REMOTE]


class Dialer:
    """Makes connections; after one that failed it knows why."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._last: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None

    def connect(self) -> socket:
        """Raises CliFailure for a bad address, or where there is no ssh."""
        argv, said = command_of(self._address), TemporaryFile()  # noqa: SIM115  closed with the process's object
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        with theirs:
            try:
                self._last = subprocess.Popen(argv, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=said), said
            except OSError as error:
                ours.close()
                raise CliFailure(f"error during connect: ssh: {(error.strerror or str(error)).lower()}") from None
        return ours

    def failure(self) -> str:
        """How the last connection's ssh came to its end; empty when it did not, or well."""
        if self._last is None:
            return ""
        process, said = self._last
        try:
            status = process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return ""
        said.seek(0)
        words = said.read(STDERR_MAX_BYTES).decode("utf-8", "replace").strip()
        ended = f"command [{' '.join(command_of(self._address))}] has exited with exit status {status}"
        return f"{ended}, make sure the URL is valid, and Festoon is installed on the remote host: stderr={words}" if status else ""
