"""Names for containers and services that got none: an adjective and a bee's word, `busy_drone`. Pure: the numbers come in."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

RANDOM_BYTES: Final = 3
ADJECTIVES: Final = (
    "amber", "brave", "busy", "calm", "clever", "dusty", "eager", "fuzzy", "gentle", "golden", "happy", "humming", "jolly", "keen", "lively", "lucky",
    "mellow", "nimble", "patient", "polite", "quick", "quiet", "rapid", "shiny", "silent", "sleepy", "steady", "sunny", "swift", "tidy", "vivid",
    "waggling",
)  # fmt: skip
NOUNS: Final = (
    "antenna", "apiary", "bloom", "brood", "bumble", "cell", "clover", "cluster", "comb", "drone", "festoon", "forager", "guard", "heather", "hive",
    "honey", "keeper", "larva", "lavender", "linden", "meadow", "mead", "nectar", "nurse", "petal", "pollen", "queen", "scout", "skep", "swarm",
    "thyme", "wing",
)  # fmt: skip


def generate(random_bytes: bytes, taken: Container[str]) -> str:
    """A free name from RANDOM_BYTES random bytes; a number follows when the plain one is taken."""
    base = f"{ADJECTIVES[random_bytes[0] % len(ADJECTIVES)]}_{NOUNS[random_bytes[1] % len(NOUNS)]}"
    name, number = base, random_bytes[2]
    while name in taken:
        name, number = f"{base}{number}", number + 1
    return name
