"""A user's file that is there whole or not at all: written beside its place, and put there in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from cli.failures import CliFailure


@contextmanager
def whole_file(path: str) -> Iterator[str]:
    """The name to write to. What the block did not finish is removed. Raises CliFailure in Docker's words."""
    partial = f"{path}.{os.getpid()}.part"
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise CliFailure(f"failed to write {path}: {(error.strerror or str(error)).lower()}") from error
    finally:
        if os.path.exists(partial):
            os.unlink(partial)
