"""The version that every process says, and the API versions that the engine speaks (Docker's numbering)."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
API_VERSION: Final = "1.51"
MIN_API_VERSION: Final = "1.24"
