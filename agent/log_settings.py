"""Which log drivers there are and what their options mean: pure. Source: moby's daemon/logger (jsonfilelog, local)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from agent.records import HostConfig
from cluster.model.errors import Internal, InvalidArgument, Unsupported

DEFAULT_DRIVER: Final = "local"
UNAWARE_DRIVER: Final = "json-file"
"""Of a container whose maker says nothing of logs at all. Docker's own clients always do, if only that they have no wish; programs that leave it out
were written for a daemon with Docker's default, and look for it: docker-py's `containers.run` gives a program's output back only from json-file."""
_OF_ALL: Final = frozenset({"mode", "max-buffer-size"})
_OF_LOCAL: Final = _OF_ALL | {"max-size", "max-file", "compress"}
OPTIONS: Final = {"local": _OF_LOCAL, "json-file": _OF_LOCAL | {"labels", "labels-regex", "env", "env-regex", "tag"}, "none": None}
"""By driver; None: any, nothing is looked at."""
MODES: Final = ("", "blocking", "non-blocking")
_BOOLEANS: Final = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False, "": False}
DEFAULT_MAX_BYTES: Final = 20 << 20
DEFAULT_MAX_FILES: Final = 5
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtp])?(?:i?b)?", re.IGNORECASE)
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_UNITS: Final = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def check(host: HostConfig) -> None:
    """What is refused when a container is made. Raises InvalidArgument for a driver that is not there, and for an unknown option."""
    if host.log_driver not in OPTIONS:
        raise InvalidArgument(f'error looking up logging plugin {host.log_driver}: plugin "{host.log_driver}" not found')
    known, options = OPTIONS[host.log_driver], dict(host.log_options)
    if known is None:
        return
    if (mode := options.get("mode", "")) not in MODES:
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if (size := options.get("max-buffer-size")) is not None and mode != "non-blocking":
        raise InvalidArgument("logger: max-buffer-size option is only supported with 'mode=non-blocking'")
    if size is not None and _SIZE.fullmatch(size) is None:
        raise InvalidArgument(f"error parsing option max-buffer-size: invalid size: '{size}'")
    for name in options:
        if name not in known:
            for_driver = "for log driver local" if host.log_driver == "local" else f"for {host.log_driver} log driver"
            raise InvalidArgument(f"unknown log opt '{name}' {for_driver}")


def driver_for(options: Iterable[str]) -> str:
    """Where none is named: the default one, unless only another has these options."""
    return DEFAULT_DRIVER if set(options) <= _OF_LOCAL else "json-file"


def max_bytes(host: HostConfig) -> int:
    """Size of one log file. Raises Internal, as Docker when the container starts."""
    text = dict(host.log_options).get("max-size")
    if text is None or (text, host.log_driver) == ("0", "local"):
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
    text = dict(host.log_options).get("max-file")
    if text is not None and not _INTEGER.fullmatch(text):
        what = f"invalid value for max-file: {text}: " if host.log_driver == "local" else ""
        raise Internal(f'failed to initialize logging driver: {what}strconv.Atoi: parsing "{text}": invalid syntax')
    count = int(text) if text else 1 if host.log_driver == "json-file" and "max-size" in dict(host.log_options) else DEFAULT_MAX_FILES
    _check_compression(host, count if text is not None or host.log_driver == "local" else 1)
    if count < 1:
        raise Internal("failed to initialize logging driver: max-file cannot be less than 1")
    return count


def compresses(host: HostConfig) -> bool:
    """Whether rotated files are compressed: `local`'s are unless its user says no."""
    text = dict(host.log_options).get("compress", "")
    return bool(_BOOLEANS.get(text.lower())) if text else host.log_driver == "local"


def _check_compression(host: HostConfig, files: int) -> None:
    """It is refused where Docker refuses it. Raises Internal."""
    options, local = dict(host.log_options), host.log_driver == "local"
    text = options.get("compress", "")
    asked = _BOOLEANS.get(text.lower())
    if asked is None:
        what = "error reading compress log option: " if local else ""
        raise Internal(f'failed to initialize logging driver: {what}strconv.ParseBool: parsing "{text}": invalid syntax')
    if local and (asked or not text) and files < 2:
        raise Internal("failed to initialize logging driver: compression cannot be enabled when max file count is 1")
    if host.log_driver == "json-file" and asked and (files < 2 or not options.get("max-size")):
        raise Internal("failed to initialize logging driver: compress cannot be true when max-file is less than 2 or max-size is not set")


def readable(host: HostConfig) -> None:
    """Raises Unsupported in Docker's words for a driver that keeps nothing."""
    if host.log_driver == "none":
        raise Unsupported("configured logging driver does not support reading")
