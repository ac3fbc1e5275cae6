"""The images of one node: content by digest, layers unpacked once and shared, names in SQLite.

Synchronous: callers use threads; every method may be called from any of them. Killed at any moment, the store is what
it was before or after the call that was running: content is written aside, synced and renamed, then recorded in one
transaction, and what no record names is swept when the store is opened. It never pulls and never mounts. Messages are
Docker's.

    blobs/sha256/<digest>       configurations and layers as they came
    layers/<chain id>/diff      an overlay's lower folder
    tmp/                        staging
    images.sqlite, lock
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cluster.model import reference
from cluster.model.reference import Reference
from runtime.errors import BadImage, ImageInUse, NoSuchImage, UnpackFailed
from runtime.images import archive, blobs, compression, config, layers
from runtime.images.config import Image
from runtime.images.database import Database, LayerRow
from runtime.images.progress import Progress, Report, short
from runtime.storage import unpacker

SHORT_ID_CHARACTERS = 12
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}

Lines = list[str]
"""What `docker load` prints."""

Removals = list[tuple[str, str]]
"""("Untagged" | "Deleted", what)."""

UsedBy = Callable[[str], str]
"""image id -> id of a container that uses it, or empty."""


@dataclass(frozen=True)
class FreshLayer:
    """A layer unpacked in a staging folder: its record, the folder that holds `diff`, the file that it came as."""

    row: LayerRow
    folder: Path
    blob: Path


class ImageStore:
    """Opened once per process; `close()` it."""

    def __init__(self, root: Path, *, limits: layers.Limits = layers.DEFAULT_LIMITS, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._folders = blobs.Folders(root)
        self._limits = limits
        self._clock_ns = clock_ns
        self._mutex = threading.RLock()
        with self._folders.locked():
            self._database = Database(root / "images.sqlite")
        with self._folders.locked(wait=False) as alone:
            if alone:
                self._folders.sweep(self._database.known_blobs(), self._database.known_layers())

    def close(self) -> None:
        with self._mutex:
            self._database.close()

    def load(self, file: BinaryIO, report: Report | None = None) -> Lines:
        """Take in an archive of `docker save` or an OCI layout, compressed or not; returns Docker's lines. `report` is told of each layer that is new.
        Raises BadImage, and then has changed nothing but for the images that came before the bad one.
        """
        lines: Lines = []
        with self._folders.staging() as staging:
            for number, staged in enumerate(archive.read(file.read, staging, f"linux/{architecture()}")):
                lines += self._take(staged, staging / f"image-{number}", report)
        return lines

    def import_(self, file: BinaryIO, reference_text: str, changes: Sequence[str] = (), message: str = "") -> str:
        """Make an image of one file system's tar; returns its id. An empty reference leaves it without a name. Raises
        BadImage, InvalidReference.
        """
        names = (reference.parse(reference_text).with_default_tag(),) if reference_text else ()
        if names and names[0].digest:
            raise BadImage("cannot import digest reference")
        now = datetime.fromtimestamp(self._clock_ns() / 1e9, UTC).isoformat().replace("+00:00", "Z")
        with self._folders.staging() as staging:
            path = staging / "layer"
            try:
                digest = blobs.write_file(path, blobs.chunks(compression.reader(file.read)))
            except BadImage as error:
                raise UnpackFailed(str(error)) from error
            raw = config.imported(digest, changes, message or "Imported from -", now, architecture())
            self._take(archive.StagedImage(raw, names, (archive.StagedBlob(path, digest),)), staging / "image")
        return _digest(raw)

    def list(self) -> tuple[Image, ...]:
        """Newest first."""
        with self._mutex:
            images = [self._image(i) for i in self._database.image_ids()]
        return tuple(sorted(images, key=lambda i: (-i.created_unix_s, i.id)))

    def get(self, reference_or_id: str) -> Image:
        """By name (`:latest` is understood), whole id, or unique beginning of an id. Raises NoSuchImage,
        InvalidReference.
        """
        with self._mutex:
            return self._image(self._find(reference_or_id)[0])

    def tag(self, source: str, target: str) -> None:
        """Give the image another name; one that had it before loses it. Raises NoSuchImage, InvalidReference,
        BadImage.
        """
        name = reference.parse(target)
        if name.digest:
            raise BadImage("refusing to create a tag with a digest reference")
        if name.familiar_repository == "sha256":
            raise BadImage("refusing to create an ambiguous tag using digest algorithm as name")
        with self._mutex, self._folders.locked():
            image_id, _ = self._find(source)
            with self._database.transaction():
                self._database.set_name(name.with_default_tag().canonical, image_id)

    def remove(
        self,
        reference_or_id: str,
        *,
        force: bool = False,
        used_by: UsedBy = lambda _: "",
        running_in: UsedBy = lambda _: "",
    ) -> Removals:
        """Take a name away, with a repository's last tag also what is known of its digests, and the image with its last name. Returns ("Untagged" | "Deleted",
        what). `used_by` names any container of the image, `running_in` a running one, which even `force` does not override. Raises NoSuchImage, ImageInUse.
        """
        with self._mutex, self._folders.locked():
            image_id, name = self._find(reference_or_id)
            done: Removals = []
            if name is not None:
                container = used_by(image_id)
                if not force and container and self._is_single(image_id):
                    raise ImageInUse(
                        f'conflict: unable to remove repository reference "{reference_or_id}" (must force) - container '
                        f"{_short(container)} is using its referenced image {_short(image_id)}"
                    )
                done += self._untag(image_id, [name.canonical])
                if not name.digest and name.repository not in self._repositories(self._database.names_of(image_id)):
                    of_it = [d for d in self._database.digests_of(image_id) if reference.parse(d).repository == name.repository]
                    done += self._untag(image_id, of_it)
                if self._references(image_id) or running_in(image_id):
                    return done
            else:
                several = bool(self._references(image_id)) and not self._is_single(image_id)
                self._refuse_removal(image_id, force, several, used_by, running_in)
            done += self._untag(image_id, self._references(image_id))
            done += self._delete(image_id, in_use=bool(used_by(image_id)))
            return done

    def lower_dirs(self, image_id: str) -> tuple[str, ...]:
        """The folders of the image's layers, top first; also of an image that was removed by force under a container.
        Raises NoSuchImage.
        """
        with self._mutex:
            rows = self._database.layers_of(image_id)
            if not rows and not self._database.has_image(image_id):
                raise NoSuchImage(f"No such image: {image_id}")
            return tuple(str(self._folders.layer(row.chain_id)) for row in reversed(rows))

    def collect(self, used_by: UsedBy) -> None:
        """Delete the layers that were kept for containers of removed images, where no container needs them any more."""
        with self._mutex, self._folders.locked():
            for image_id in self._database.hidden_ids():
                if not used_by(image_id):
                    self._delete(image_id, in_use=False)

    # --- taking in
    def _take(self, staged: archive.StagedImage, folder: Path, report: Report | None = None) -> Lines:
        diff_ids = config.diff_ids(config.parse(staged.config))
        if len(diff_ids) != len(staged.layers):
            raise BadImage(f"invalid manifest, layers length mismatch: expected {len(diff_ids)}, got {len(staged.layers)}")
        config.image(_digest(staged.config), staged.config, (), ())  # refuses a malformed one before anything is written
        folder.mkdir(mode=0o700)
        fresh: dict[str, FreshLayer] = {}
        for position, (chain_id, diff_id, layer) in enumerate(zip(chain_ids(diff_ids), diff_ids, staged.layers, strict=True)):
            if chain_id not in fresh and not self.has_layer(chain_id):
                size = layer.path.stat().st_size
                if report is not None:
                    report(Progress("Loading layer", short(diff_id), 0, size, layer=True))
                fresh[chain_id] = self.unpack(layer, diff_id, chain_id, folder, base=position == 0)
                if report is not None:
                    report(Progress("Loading layer", short(diff_id), size, size, layer=True))
        return self.place(staged.config, tuple(fresh.values()), folder, staged.names)

    # --- taking in what comes piece by piece (a pull): staging(), then unpack() for each layer, then place()
    def staging(self) -> AbstractContextManager[Path]:
        """A folder of the caller's own on the store's disk, removed at the end whatever happens."""
        return self._folders.staging()

    def has_layer(self, chain_id: str) -> bool:
        with self._mutex:
            return self._database.layer(chain_id) is not None

    def unpack(self, layer: archive.StagedBlob, diff_id: str, chain_id: str, folder: Path, *, base: bool) -> FreshLayer:
        """Unpack one layer below `folder`, which `staging` gave; layers may be unpacked in any order. Raises BadImage
        also when the content is not what the image's configuration says.
        """
        size = self._unpack(layer, diff_id, folder / chain_id[7:], base=base)
        return FreshLayer(LayerRow(chain_id, diff_id, layer.digest, size), folder / chain_id[7:], layer.path)

    def place(self, raw: bytes, fresh: Sequence[FreshLayer], folder: Path, names: Sequence[Reference], *, private: bool = False) -> Lines:
        """Make an image of its configuration, the layers just unpacked and those that are here already; in one step.
        `names` with a digest become its repository digests. `private`: a registry gave it out against credentials.
        """
        image_id = _digest(raw)
        chain = chain_ids(config.diff_ids(config.parse(raw)))
        blobs.write_file(folder / "config", iter((raw,)))
        self._folders.settle()
        with self._mutex, self._folders.locked():
            self._folders.place_blob(folder / "config", image_id)
            placed: list[LayerRow] = []
            for layer in fresh:
                if self._database.layer(layer.row.chain_id) is None:  # else somebody was faster
                    self._folders.place_layer(layer.folder, layer.row.chain_id)
                    if not self._folders.blob(layer.row.blob).exists():
                        self._folders.place_blob(layer.blob, layer.row.blob)
                    placed.append(layer.row)
            self._folders.sync_placed()
            with self._database.transaction():
                known = self._database.has_image(image_id)
                lines = self._record(image_id, chain, placed, names)
                if not private or not known:
                    self._database.set_private(image_id, private)
                return lines

    def add_digest(self, reference_: Reference, image_id: str) -> None:
        """Remember the digest that a registry gave the image."""
        with self._mutex, self._folders.locked(), self._database.transaction():
            self._database.set_digest(reference_.canonical, image_id)

    def layer_blobs(self, image_id: str) -> tuple[archive.StagedBlob, ...]:
        """The image's layers as they came, lowest first. Their files stay while the image does."""
        with self._mutex:
            return tuple(archive.StagedBlob(self._folders.blob(row.blob), row.blob) for row in self._database.layers_of(image_id))

    def is_private(self, image_id: str) -> bool:
        """Whether all that is known of where it came from is a registry that gave it out against credentials."""
        with self._mutex:
            return self._database.is_private(image_id)

    def set_public(self, image_id: str) -> None:
        """It came from somewhere without credentials too."""
        with self._mutex, self._folders.locked(), self._database.transaction():
            self._database.set_private(image_id, False)

    def layers_size_bytes(self) -> int:
        """What all layers take; one that several images share counts once."""
        with self._mutex:
            return self._database.layers_size_bytes()

    def shared_sizes(self) -> dict[str, int]:
        """By image: the bytes of its layers that another image has too."""
        with self._mutex:
            layers = {i: {row.chain_id: row.size_bytes for row in self._database.layers_of(i)} for i in self._database.image_ids()}
        users = Counter(chain for chains in layers.values() for chain in chains)
        return {i: sum(size for chain, size in chains.items() if users[chain] > 1) for i, chains in layers.items()}

    def named_in(self, repository: str) -> tuple[str, ...]:
        """The familiar names of all tags of a repository (`docker.io/library/busybox`)."""
        with self._mutex:
            names = [reference.parse(n) for i in self._database.image_ids() for n in self._database.names_of(i)]
        return tuple(sorted(n.familiar for n in names if n.repository == repository))

    def blob_path(self, digest: str) -> Path | None:
        """The file of a blob that is here. Raises BadImage for what is no digest."""
        path = self._folders.blob(digest)
        return path if path.exists() else None

    def _record(self, image_id: str, chain: Sequence[str], placed: Sequence[LayerRow], names: Sequence[Reference]) -> Lines:
        for row in placed:
            self._database.add_layer(row)
        self._database.add_image(image_id, self._clock_ns(), chain)
        lines: Lines = []
        for name in names:
            if name.digest:
                self._database.set_digest(name._replace(tag="").canonical, image_id)
                continue
            before = self._database.named(name.canonical)
            if before and before != image_id:
                lines.append(f"The image {name.familiar} already exists, renaming the old one with ID {before} to empty string")
            self._database.set_name(name.canonical, image_id)
            lines.append(f"Loaded image: {name.familiar}")
        return lines or [f"Loaded image ID: {image_id}"]

    def _unpack(self, layer: archive.StagedBlob, diff_id: str, folder: Path, *, base: bool) -> int:
        diff = folder / "diff"
        diff.mkdir(mode=0o755, parents=True)
        diff.chmod(0o755)
        with open(layer.path, "rb", buffering=0) as file:
            unpacked = unpacker.unpack(file, diff, base=base, limits=self._limits)
        if unpacked.diff_id != diff_id:
            raise BadImage(f"layer {layer.digest} has content {unpacked.diff_id}, but the image's configuration says {diff_id}")
        return unpacked.size_bytes

    # --- finding
    def _find(self, text: str) -> tuple[str, Reference | None]:
        """The image's id, and the name when it was found by one."""
        digits = reference.id_prefix(text)
        if text.startswith("sha256:") and digits:
            return self._by_prefix(text, digits), None
        if digits and len(digits) == 64:
            return self._by_prefix(text, digits), None
        name = asked = reference.parse(text).with_default_tag()
        if name.digest:
            name = name._replace(tag="")  # as Docker: the digest says which
        image_id = self._database.named(name.canonical)
        if image_id:
            return image_id, name
        if digits:
            return self._by_prefix(f"{text}:{reference.DEFAULT_TAG}", digits), None
        raise NoSuchImage(f"No such image: {asked.familiar}")

    def _by_prefix(self, text: str, digits: str) -> str:
        found = self._database.ids_with_prefix(digits)
        if len(found) != 1:
            raise NoSuchImage(f"No such image: {text}")
        return found[0]

    def _image(self, image_id: str) -> Image:
        raw = self._folders.blob(image_id).read_bytes()
        return config.image(
            image_id,
            raw,
            [reference.familiar(n) for n in self._database.names_of(image_id)],
            [reference.familiar(n) for n in self._database.digests_of(image_id)],
            [row.size_bytes for row in self._database.layers_of(image_id)],
        )

    # --- removing (the store is locked)
    def _references(self, image_id: str) -> Lines:
        return self._database.names_of(image_id) + self._database.digests_of(image_id)

    def _is_single(self, image_id: str) -> bool:
        """Whether one repository has it, under one tag at most."""
        return len(self._database.names_of(image_id)) <= 1 and len(self._repositories(self._references(image_id))) == 1

    @staticmethod
    def _repositories(names: Iterable[str]) -> set[str]:
        return {reference.parse(name).repository for name in names}

    def _refuse_removal(self, image_id: str, force: bool, several: bool, used_by: UsedBy, running_in: UsedBy) -> None:
        prefix = f"conflict: unable to delete {_short(image_id)}"
        if running := running_in(image_id):
            raise ImageInUse(f"{prefix} (cannot be forced) - image is being used by running container {_short(running)}")
        if force:
            return
        if several:
            raise ImageInUse(f"{prefix} (must be forced) - image is referenced in multiple repositories")
        if stopped := used_by(image_id):
            raise ImageInUse(f"{prefix} (must be forced) - image is being used by stopped container {_short(stopped)}")

    def _untag(self, image_id: str, names: Sequence[str]) -> Removals:
        with self._database.transaction():
            for name in names:
                self._database.drop_name(name)
        return [("Untagged", reference.familiar(name)) for name in names]

    def _delete(self, image_id: str, *, in_use: bool) -> Removals:
        with self._database.transaction():
            if in_use:
                self._database.hide_image(image_id)
                return [("Deleted", image_id)]
            gone = self._database.drop_image(image_id)
            kept = self._database.known_blobs()
        for row in gone:
            self._folders.discard(self._folders.layer(row.chain_id).parent)
        for blob in {image_id, *(row.blob for row in gone)} - kept:
            self._folders.discard(self._folders.blob(blob))
        return [("Deleted", image_id), *(("Deleted", row.chain_id) for row in gone)]


def architecture() -> str:
    """This machine's, as Go names it."""
    machine = os.uname().machine
    return _MACHINES.get(machine, machine)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Of each layer with all that is below it (OCI image specification, config.md, "Layer ChainID")."""
    result: Lines = []
    for diff_id in diff_ids:
        result.append(diff_id if not result else _digest(f"{result[-1]} {diff_id}".encode()))
    return tuple(result)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _short(identifier: str) -> str:
    return identifier.removeprefix("sha256:")[:SHORT_ID_CHARACTERS]
