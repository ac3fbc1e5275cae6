"""What the image store knows: images, names, digests and layers, in one SQLite file. Every change is one durable
transaction.

Owns the tables; knows no folders. An image that was removed by force while a container ran from it stays as a hidden
row (`hidden = 1`), so that its layers stay too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

BUSY_TIMEOUT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS images
    (id TEXT PRIMARY KEY, loaded_ns INTEGER NOT NULL, hidden INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE IF NOT EXISTS refs (name TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id)) STRICT;
CREATE TABLE IF NOT EXISTS digests (name TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES images(id)) STRICT;
CREATE TABLE IF NOT EXISTS layers
    (chain_id TEXT PRIMARY KEY, diff_id TEXT NOT NULL, blob TEXT NOT NULL, size_bytes INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS image_layers
    (image_id TEXT NOT NULL REFERENCES images(id), position INTEGER NOT NULL,
     chain_id TEXT NOT NULL REFERENCES layers(chain_id), PRIMARY KEY (image_id, position)) STRICT;
CREATE TABLE IF NOT EXISTS private (image_id TEXT PRIMARY KEY REFERENCES images(id)) STRICT;
CREATE INDEX IF NOT EXISTS refs_image ON refs(image_id);
CREATE INDEX IF NOT EXISTS image_layers_chain ON image_layers(chain_id);
"""


class LayerRow(NamedTuple):
    """One unpacked layer."""

    chain_id: str
    diff_id: str
    blob: str
    size_bytes: int


class Database:
    """The connection. Not safe for several threads at once: the store's lock is around every call."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        done = False
        try:
            yield
            done = True
        finally:
            self._connection.execute("COMMIT" if done else "ROLLBACK")

    # --- reading
    def image_ids(self) -> list[str]:
        return self._column("SELECT id FROM images WHERE NOT hidden ORDER BY loaded_ns, id")

    def has_image(self, image_id: str) -> bool:
        return bool(self._column("SELECT 1 FROM images WHERE id = ? AND NOT hidden", image_id))

    def hidden_ids(self) -> list[str]:
        return self._column("SELECT id FROM images WHERE hidden")

    def ids_with_prefix(self, prefix: str) -> list[str]:
        """`prefix` is hex digits; the ids that begin with it, at most two."""
        return self._column(
            "SELECT id FROM images WHERE NOT hidden AND id >= ? AND id < ? LIMIT 2",
            f"sha256:{prefix}",
            f"sha256:{prefix}g",
        )

    def named(self, canonical: str) -> str:
        """The image of an exact tag or digest reference; empty when there is none."""
        rows = self._column(
            "SELECT image_id FROM refs WHERE name = ? UNION ALL SELECT image_id FROM digests WHERE name = ?",
            canonical,
            canonical,
        )
        return rows[0] if rows else ""

    def names_of(self, image_id: str) -> list[str]:
        return self._column("SELECT name FROM refs WHERE image_id = ? ORDER BY name", image_id)

    def digests_of(self, image_id: str) -> list[str]:
        return self._column("SELECT name FROM digests WHERE image_id = ? ORDER BY name", image_id)

    def is_private(self, image_id: str) -> bool:
        return bool(self._column("SELECT 1 FROM private WHERE image_id = ?", image_id))

    def set_private(self, image_id: str, private: bool) -> None:
        self._connection.execute("INSERT OR IGNORE INTO private VALUES (?)" if private else "DELETE FROM private WHERE image_id = ?", (image_id,))

    def layer(self, chain_id: str) -> LayerRow | None:
        row = self._connection.execute("SELECT chain_id, diff_id, blob, size_bytes FROM layers WHERE chain_id = ?", (chain_id,)).fetchone()
        return LayerRow(*row) if row else None

    def layers_of(self, image_id: str) -> list[LayerRow]:
        """Lowest first; of hidden images too."""
        rows = self._connection.execute(
            "SELECT l.chain_id, l.diff_id, l.blob, l.size_bytes FROM image_layers i JOIN layers l USING (chain_id) WHERE i.image_id = ? ORDER BY i.position",
            (image_id,),
        )
        return [LayerRow(*row) for row in rows]

    def layers_size_bytes(self) -> int:
        return int(self._connection.execute("SELECT COALESCE(SUM(size_bytes), 0) FROM layers").fetchone()[0])

    def known_blobs(self) -> set[str]:
        return set(self._column("SELECT id FROM images UNION SELECT blob FROM layers"))

    def known_layers(self) -> set[str]:
        return set(self._column("SELECT chain_id FROM layers"))

    # --- changing (inside a transaction)
    def add_layer(self, row: LayerRow) -> None:
        self._connection.execute("INSERT INTO layers VALUES (?, ?, ?, ?)", row)

    def add_image(self, image_id: str, loaded_ns: int, chain_ids: Iterable[str]) -> None:
        """Also brings a hidden image back."""
        self._connection.execute(
            "INSERT INTO images (id, loaded_ns) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET hidden = 0",
            (image_id, loaded_ns),
        )
        self._connection.executemany(
            "INSERT OR IGNORE INTO image_layers VALUES (?, ?, ?)",
            [(image_id, n, chain) for n, chain in enumerate(chain_ids)],
        )

    def set_name(self, canonical: str, image_id: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO refs VALUES (?, ?)", (canonical, image_id))

    def set_digest(self, canonical: str, image_id: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO digests VALUES (?, ?)", (canonical, image_id))

    def drop_name(self, canonical: str) -> None:
        self._connection.execute("DELETE FROM refs WHERE name = ?", (canonical,))
        self._connection.execute("DELETE FROM digests WHERE name = ?", (canonical,))

    def hide_image(self, image_id: str) -> None:
        self._connection.execute("UPDATE images SET hidden = 1 WHERE id = ?", (image_id,))

    def drop_image(self, image_id: str) -> list[LayerRow]:
        """Forget it; returns the layers that no image has any more, top first, which are forgotten too."""
        layers = self.layers_of(image_id)
        self._connection.execute("DELETE FROM image_layers WHERE image_id = ?", (image_id,))
        self._connection.execute("DELETE FROM private WHERE image_id = ?", (image_id,))
        self._connection.execute("DELETE FROM images WHERE id = ?", (image_id,))
        gone = [row for row in reversed(layers) if not self._column("SELECT 1 FROM image_layers WHERE chain_id = ? LIMIT 1", row.chain_id)]
        self._connection.executemany("DELETE FROM layers WHERE chain_id = ?", [(row.chain_id,) for row in gone])
        return gone

    def _column(self, query: str, *arguments: str) -> list[str]:
        return [row[0] for row in self._connection.execute(query, arguments)]
