"""Which log drivers there are and what their options mean: pure. Source: moby's daemon/logger (jsonfilelog, local)."""

from __future__ import annotations

import re
from typing import Final

from agent.records import HostConfig
from cluster.model.errors import Internal, InvalidArgument

DRIVERS: Final = ("local", "json-file", "none")
DEFAULT_DRIVER: Final = "local"
UNAWARE_DRIVER: Final = "json-file"
"""Of a container whose maker says nothing of logs at all. Docker's own clients always do, if only that they have no wish; programs that leave it out
were written for a daemon with Docker's default, and look for it: docker-py's `containers.run` gives a program's output back only from json-file."""
OPTIONS: Final = frozenset({"max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size"})
DEFAULT_MAX_BYTES: Final = 20 << 20
DEFAULT_MAX_FILES: Final = 5
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])?(?:i?b)?", re.IGNORECASE)
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def check(host: HostConfig) -> None:
    """What is refused when a container is made. Raises Internal for a driver that is not there, InvalidArgument for an unknown option."""
    if host.log_driver not in DRIVERS:
        raise Internal(f'error looking up logging plugin {host.log_driver}: plugin "{host.log_driver}" not found')
    for name, _ in host.log_options:
        if name not in OPTIONS:
            raise InvalidArgument(f"unknown log opt '{name}' for {host.log_driver} log driver")


def max_bytes(host: HostConfig) -> int:
    """Size of one log file. Raises Internal, as Docker when the container starts."""
    text = dict(host.log_options).get("max-size", "")
    if not text or text == "-1":
        return DEFAULT_MAX_BYTES
    match = _SIZE.fullmatch(text)
    size = int(float(match[1]) * (1 << _UNITS[(match[2] or "").lower()])) if match else 0
    if match is None:
        what = f"invalid value for max-size: {text}: " if host.log_driver == "local" else ""
        raise Internal(f"failed to initialize logging driver: {what}invalid size: '{text}'")
    if size < 1:
        raise Internal("failed to initialize logging driver: max-size must be a positive number")
    return size


def max_files(host: HostConfig) -> int:
    """How many log files there may be. Raises Internal."""
    text = dict(host.log_options).get("max-file", "")
    if not text:
        return 1 if host.log_driver == "json-file" and "max-size" in dict(host.log_options) else DEFAULT_MAX_FILES
    if not text.isdigit():
        raise Internal(f'failed to initialize logging driver: strconv.Atoi: parsing "{text}": invalid syntax')
    if int(text) < 1:
        raise Internal("failed to initialize logging driver: max-file cannot be less than 1")
    return int(text)


def readable(host: HostConfig) -> None:
    """Raises Internal in Docker's words for a driver that keeps nothing."""
    if host.log_driver == "none":
        raise Internal("configured logging driver does not support reading")
