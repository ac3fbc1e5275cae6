"""`festoon system certs`: the files that `festoond --host tcp://…` and its clients need, under an authority of this node's own."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from cli.api import Api
from cli.failures import CliFailure
from cli.flags import options
from cli.usage import command
from cli.whole_file import whole_file

EXAMPLES: Final = (
    ("--host node1.example --host 192.0.2.1 /etc/festoon/tls",
     "then: festoond -H tcp://192.0.2.1:2376 --tlscacert ca.pem --tlscert server-cert.pem --tlskey server-key.pem"),
)  # fmt: skip


@command("certs", "DIRECTORY", summary="Make certificates for the Engine API over TCP", least=1, most=1, examples=EXAMPLES)
@options("--host", help="A name or address that the daemon is reached by (default: this machine's name, localhost and 127.0.0.1)")
def certs(api: Api, arguments: tuple[str, ...], host: tuple[str, ...]) -> int:
    """An authority that is in the directory already signs the new certificates too, so that clients go on trusting it."""
    from datetime import UTC, datetime

    from cluster.identity import engine_certificates as made
    from cluster.model.errors import InvalidArgument

    folder, hosts = Path(arguments[0]), host or (socket.gethostname(), "localhost", "127.0.0.1")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths = folder / made.AUTHORITY, folder / made.AUTHORITY_KEY
        there = (paths[0].read_text(), paths[1].read_text()) if all(path.exists() for path in paths) else None
        for name, text in made.make(hosts, datetime.now(UTC), there).items():
            _write(folder / name, text, 0o600 if name.endswith("key.pem") else 0o644)
    except InvalidArgument as error:
        raise CliFailure(error.message) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CliFailure(f"{getattr(error, 'filename', None) or folder}: {getattr(error, 'strerror', None) or error}") from error
    print(f"{made.AUTHORITY}, {made.SERVER} and {made.SERVER_KEY} are for festoond (--tlscacert, --tlscert, --tlskey), reached as {', '.join(hosts)};\n"
          f"{made.AUTHORITY}, {made.CLIENT} and {made.CLIENT_KEY} for who may use it, which is to be root on this machine.\n"
          f"Keep {made.AUTHORITY_KEY} away from both.")  # fmt: skip
    return 0


def _write(path: Path, text: str, mode: int) -> None:
    with whole_file(str(path)) as aside, open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as file:
        file.write(text)
