"""A tar stream unpacked over what a tree holds (`docker cp` inwards). Inside the storage worker.

Owns Docker's rules for what replaces what. Folders on the way are looked up from the tree's root by openat2, so links lead
where they lead for the container, and never out of it. Source: moby's pkg/archive (Unpack, createTarFile).
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress

from runtime.errors import BadImage
from runtime.images import entries
from runtime.images.layers import components
from runtime.images.tar import Entry, Kind, Read, TarReader
from runtime.kernel import constants as k
from runtime.storage.places import Problem, absolute
from runtime.storage.requests import Done, Tree
from runtime.storage.requests import Extract as Request
from runtime.storage.tree import open_in_root

MAX_ENTRIES = 2_000_000
_OTHERS = (Kind.SYMLINK, Kind.CHARACTER, Kind.BLOCK, Kind.FIFO)


def into(root: int, request: Request, read: Read) -> Done:
    """The request `Extract`. Raises Problem, BadImage, OSError."""
    folder = os.path.realpath(absolute(request.path))
    _refuse_read_only(request.tree, folder)
    try:
        os.close(open_in_root(root, folder, k.O_PATH | k.O_DIRECTORY, k.IN_ROOT | k.RESOLVE_NO_SYMLINKS))
    except FileNotFoundError:
        raise Problem("not-found", request.path) from None
    except NotADirectoryError:
        raise Problem("no-place", "extraction point is not a directory") from None
    Extraction(root, folder, keep_kinds=request.keep_kinds, owner=request.owner).run(read)
    return Done()


def _refuse_read_only(tree: Tree, folder: str) -> None:
    inside = [b for b in tree.binds if folder == b.target or folder.startswith(b.target.rstrip("/") + "/")]
    deepest = max(inside, key=lambda b: len(b.target), default=None)
    if deepest is not None and deepest.read_only:
        raise Problem("read-only", "mounted volume is marked read-only")
    if deepest is None and tree.read_only:
        raise Problem("read-only", "container rootfs is marked read-only")


class Extraction:
    """One archive into one folder; `top` takes the place of every name's first component (empty: without it). State: the
    times of its folders, which are set last.
    """

    def __init__(self, root: int, folder: str, *, keep_kinds: bool, owner: tuple[int, int] | None, top: str | None = None) -> None:
        self._root, self._folder = root, folder.rstrip("/")
        self._keep_kinds, self._owner = keep_kinds, owner
        self._top = top
        self._times: dict[tuple[str, ...], int] = {}

    def run(self, read: Read) -> None:
        """Raises BadImage for what the archive may not hold, Problem for what the file system refuses."""
        reader = TarReader(read)
        for number, entry in enumerate(reader):
            if number >= MAX_ENTRIES:
                raise BadImage(f"an archive of more than {MAX_ENTRIES} entries")
            owned = entry if self._owner is None else entry._replace(uid=self._owner[0], gid=self._owner[1])
            try:
                self._add(owned, reader)
            except OSError as error:
                refused = os.strerror(error.errno).lower() if error.errno else str(error)
                raise Problem("failed", f"Error processing tar file(exit status 1): {self._shown(entry)}: {refused}") from error
        for parts, mtime_ns in sorted(self._times.items(), reverse=True):
            try:
                fd = self._open(parts)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later entry
            try:
                os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _parts(self, name: str) -> tuple[str, ...]:
        parts = components(name)
        return parts if self._top is None or not parts else (*((self._top,) if self._top else ()), *parts[1:])

    def _add(self, entry: Entry, reader: TarReader) -> None:
        parts = self._parts(entry.name)
        if not parts:
            return  # the folder itself, which is there
        parent = self._parent(parts[:-1])
        try:
            name = parts[-1]
            found = entries.lstat(parent, name)
            if found is not None and not self._merges(entry, found):
                if entry.kind in _OTHERS and not stat.S_ISDIR(found.st_mode):
                    _put_in_place_of(parent, name, entry)
                    return
                entries.remove(parent, name, found)
                found = None
            if entry.kind is Kind.DIRECTORY:
                self._dress_folder(parent, parts, entry, exists=found is not None)
            elif entry.kind is Kind.FILE:
                entries.write_file(parent, name, entry, reader.data())
            elif entry.kind is Kind.HARDLINK:
                self._link(parent, name, entry)
            else:
                entries.make_other(parent, name, entry)
        finally:
            os.close(parent)

    def _merges(self, entry: Entry, found: os.stat_result) -> bool:
        """Whether what is there stays (a folder under a folder)."""
        is_folder, comes_folder = stat.S_ISDIR(found.st_mode), entry.kind is Kind.DIRECTORY
        if self._keep_kinds and is_folder and not comes_folder:
            raise BadImage(f'cannot overwrite directory "{self._shown(entry)}" with non-directory "{self._folder or "/"}"')
        if self._keep_kinds and not is_folder and comes_folder:
            raise BadImage(f'cannot overwrite non-directory "{self._shown(entry)}" with directory "{self._folder or "/"}"')
        return is_folder and comes_folder

    def _shown(self, entry: Entry) -> str:
        return f"{self._folder}/{'/'.join(self._parts(entry.name))}"

    def _dress_folder(self, parent: int, parts: tuple[str, ...], entry: Entry, *, exists: bool) -> None:
        if not exists:
            os.mkdir(parts[-1], 0o755, dir_fd=parent)
        fd = os.open(parts[-1], entries.FOLDER_FLAGS, dir_fd=parent)
        try:
            entries.dress_folder(fd, entry)
        finally:
            os.close(fd)
        self._times[parts] = entry.mtime_ns

    def _link(self, parent: int, name: str, entry: Entry) -> None:
        target = self._parts(entry.target)
        if not target:
            raise BadImage(f'invalid hardlink "{entry.target}" -> "{entry.name}"')
        try:
            source = self._open(target[:-1])
        except (FileNotFoundError, NotADirectoryError):
            raise BadImage(f'invalid hardlink "{entry.target}" -> "{entry.name}"') from None
        try:
            os.link(target[-1], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            raise BadImage(f'invalid hardlink "{entry.target}" -> "{entry.name}"') from None
        finally:
            os.close(source)

    def _open(self, parts: tuple[str, ...]) -> int:
        return open_in_root(self._root, "/".join((self._folder, *parts)) or "/", k.O_RDONLY | k.O_DIRECTORY)

    def _parent(self, parts: tuple[str, ...]) -> int:
        """The folder of an entry; made where the archive does not bring it."""
        try:
            return self._open(parts)
        except FileNotFoundError:
            if not parts:
                raise
        above = self._parent(parts[:-1])
        try:
            os.mkdir(parts[-1], 0o755, dir_fd=above)
        except FileExistsError:
            raise BadImage(f"invalid name in archive: {'/'.join(parts)!r} is a link that leads nowhere") from None
        finally:
            os.close(above)
        return self._open(parts)


def _put_in_place_of(parent: int, name: str, entry: Entry) -> None:
    """A link, device or fifo where another file is: made aside first, because a device may be refused (in a user namespace), and what is there stays then."""
    aside = f".festoon-{secrets.token_hex(8)}"
    try:
        entries.make_other(parent, aside, entry)
        os.rename(aside, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=parent)
        raise
