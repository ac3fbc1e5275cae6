"""What can go wrong with a guest, as one sentence."""

from __future__ import annotations


class VmError(Exception):
    """No guest, and why."""
