"""The short form of a volume in a Compose file: `/data`, `name:/data:ro`, `./folder:/data:rslave,nocopy`. Pure.

Source: docker/cli's cli/compose/loader/volume.go.
"""

from __future__ import annotations

from typing import Any, Final

PROPAGATIONS: Final = frozenset({"rprivate", "private", "rshared", "shared", "rslave", "slave"})


def parse_volume(text: str) -> dict[str, Any]:
    """The long form. Raises ValueError."""
    if not text:
        raise ValueError("invalid empty volume spec")
    if len(text) <= 2:
        return {"type": "volume", "target": text}
    parts = _parts(text)
    if not all(parts):
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid spec: {text}: too many colons")
    if len(parts) == 1:
        return {"type": "volume", "target": text}
    source, target, options = parts[0], parts[1], parts[2].split(",") if len(parts) == 3 else []
    made: dict[str, Any] = {"type": "bind" if source.startswith((".", "/", "~")) else "volume", "source": source, "target": target}
    read_only = [option for option in options if option in ("ro", "rw")]
    if read_only and read_only[-1] == "ro":
        made["read_only"] = True
    propagation = [option for option in options if option in PROPAGATIONS]
    if propagation:
        made["bind"] = {"propagation": propagation[-1]}
    if "nocopy" in options:
        made["volume"] = {"nocopy": True}
    return made


def _parts(text: str) -> list[str]:
    """Between the colons, of which one after a single letter belongs to a path of Windows."""
    parts, word = [], ""
    for character in text:
        if character == ":" and not (len(word) == 1 and word.isalpha()):
            parts.append(word)
            word = ""
        else:
            word += character
    return [*parts, word]
