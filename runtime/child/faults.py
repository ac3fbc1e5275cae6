"""A container or exec that cannot be compiled: the user's mistake, in one sentence. Owns only the error."""

from __future__ import annotations


class Refused(ValueError):
    """The message is the sentence for the user, in Docker's words where it has them."""
