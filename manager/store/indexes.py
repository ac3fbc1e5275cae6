"""One secondary index: key -> the ids that have it. Owns its buckets; knows nothing of objects, and is told only of
keys that changed.

A bucket of one is that id, a small one a tuple (most hold one or two ids, and tuples of strings stay out of the garbage
collector's sight); one that grows past SMALL_BUCKET_IDS becomes a dict, so that adding and removing stay O(1). Ids come
out in the order in which they got the key.
"""

from __future__ import annotations

SMALL_BUCKET_IDS = 8


class Index:
    """Buckets of ids by text key. The empty key is never indexed (a task without a node, an object without a name)."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: dict[str, str | tuple[str, ...] | dict[str, None]] = {}

    def ids(self, key: str) -> tuple[str, ...]:
        """The ids under `key`, empty when there are none."""
        bucket = self._buckets.get(key, ())
        return (bucket,) if isinstance(bucket, str) else tuple(bucket)

    def move(self, id: str, before: str, after: str) -> None:
        """`id` had the key `before` and now has `after`; an empty key stands for none."""
        if before == after:
            return
        if before:
            self.remove(before, id)
        if after:
            self.add(after, id)

    def add(self, key: str, id: str) -> None:
        """`id` has this key, which is not empty, and had none."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._buckets[key] = id
        elif isinstance(bucket, dict):
            bucket[id] = None
        elif isinstance(bucket, str):
            self._buckets[key] = (bucket, id)
        elif len(bucket) < SMALL_BUCKET_IDS:
            self._buckets[key] = (*bucket, id)
        else:
            self._buckets[key] = dict.fromkeys((*bucket, id))

    def remove(self, key: str, id: str) -> None:
        """`id` had this key, which is not empty, and has none."""
        bucket = self._buckets[key]
        if isinstance(bucket, dict):
            del bucket[id]
            if not bucket:
                del self._buckets[key]
            return
        rest = tuple(other for other in self.ids(key) if other != id)
        if rest:
            self._buckets[key] = rest if len(rest) > 1 else rest[0]
        else:
            del self._buckets[key]

    def as_sets(self) -> dict[str, frozenset[str]]:
        """The whole index, for comparison with one that was rebuilt."""
        return {key: frozenset(self.ids(key)) for key in self._buckets}
