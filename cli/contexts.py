"""Contexts: daemons by name, kept as Docker's client keeps them (`~/.docker/contexts/meta/SHA256/meta.json`, `currentContext` in config.json), so that both
programs know the same ones. Owns these files; never connects to anything. TLS material of a context lies in `contexts/tls/SHA256/docker/`.

Source: docker/cli's cli/context/store.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Final

from cli import credentials
from cli.failures import CliFailure

DEFAULT: Final = "default"
DEFAULT_DESCRIPTION: Final = "Current DOCKER_HOST based configuration"
MAX_META_BYTES: Final = 1024 * 1024
TLS_FILES: Final = ("ca.pem", "cert.pem", "key.pem")
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.+-]+")


def checked(name: str) -> str:
    """Raises CliFailure for a name that no context can have."""
    if name == DEFAULT:
        raise CliFailure(f'"{DEFAULT}" is a reserved context name')
    if not _NAME.fullmatch(name):
        raise CliFailure(f'context name "{name}" is invalid, names are validated against regexp "^{_NAME.pattern}$"')
    return name


def metadata_folder(name: str) -> Path:
    return _folder() / "meta" / hashlib.sha256(name.encode()).hexdigest()


def tls_folder(name: str) -> Path:
    return _folder() / "tls" / hashlib.sha256(name.encode()).hexdigest()


def _folder() -> Path:
    return credentials.path().parent / "contexts"


def exists(name: str) -> bool:
    return (metadata_folder(name) / "meta.json").exists()


def read(name: str) -> dict[str, Any]:
    """What is known of a context. Raises CliFailure, in the words of docker's store."""
    path = metadata_folder(name) / "meta.json"
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(MAX_META_BYTES))
    except OSError as e:
        raise CliFailure(f'context "{name}": context not found: open {path}: {(e.strerror or str(e)).lower()}') from e
    except ValueError as e:
        raise CliFailure(f'context "{name}": parsing {path}: {e}') from e
    if not isinstance(found, dict):
        raise CliFailure(f'context "{name}": parsing {path}: not a context')
    return found


def write(name: str, found: dict[str, Any], tls: dict[str, bytes]) -> None:
    """Make or replace one. `tls`: the files of TLS_FILES that it has."""
    folder = metadata_folder(name)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    files = {folder / "meta.json": json.dumps(found, separators=(",", ":")).encode()}
    files |= {_tls_path(name, file): data for file, data in tls.items()}
    for path, data in files.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made = path.with_name(f".{path.name}.new")
        made.unlink(missing_ok=True)
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644 if path.name == "meta.json" else 0o600), "wb") as file:
            file.write(data)
        os.replace(made, path)


def _tls_path(name: str, file: str) -> Path:
    return tls_folder(name) / "docker" / file


def tls_files(name: str) -> dict[str, bytes]:
    return {file: _tls_path(name, file).read_bytes() for file in TLS_FILES if _tls_path(name, file).exists()}


def remove(name: str) -> None:
    import shutil

    shutil.rmtree(metadata_folder(name), ignore_errors=True)
    shutil.rmtree(tls_folder(name), ignore_errors=True)


def every() -> list[dict[str, Any]]:
    """All but the default one."""
    found = []
    for path in sorted((_folder() / "meta").glob("*/meta.json")):
        try:
            one = json.loads(path.read_bytes()[:MAX_META_BYTES])
        except (OSError, ValueError):
            continue
        if isinstance(one, dict) and one.get("Name"):
            found.append(one)
    return found


def host_of(found: dict[str, Any]) -> str:
    """Where the context's daemon is; empty where it says nothing."""
    return str(((found.get("Endpoints") or {}).get("docker") or {}).get("Host") or "")


def chosen() -> str:
    """The context that was chosen by `context use`."""
    return str(credentials.read_all().get("currentContext") or DEFAULT)


def choose(name: str) -> None:
    """Remember it as the chosen one; the default one by saying nothing."""
    document = credentials.read_all()
    if name == DEFAULT:
        if document.pop("currentContext", None) is None:
            return
    else:
        document["currentContext"] = name
    credentials.write_all(document)


def overriding() -> str:
    """The variable that says where the daemon is, whatever was chosen; empty without one."""
    return next((name for name in ("FESTOON_HOST", "DOCKER_HOST") if os.environ.get(name)), "")


def current(flag: str) -> str:
    """The context that counts now: the flag's; the default one where an address is given; else the environment's or the chosen one."""
    if flag:
        return flag
    if overriding():
        return DEFAULT
    return os.environ.get("DOCKER_CONTEXT") or chosen()
