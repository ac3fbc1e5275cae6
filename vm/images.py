"""The lab's two images as a ready image store in the cache, which a machine copies at its boot: unpacking in a translated
machine would cost seconds each time.

The store's name in the cache comes from the images and from the code that writes stores.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from pathlib import Path

from lab import images
from runtime.images import store as store_module
from runtime.images.store import ImageStore
from vm import kernel
from vm.errors import VmError

PREFIX = "images-"


def prepared() -> Path:
    """The folder of the store. Raises VmError without busybox-static."""
    try:
        archives = images.archives()
    except (FileNotFoundError, ValueError) as error:
        raise VmError(f"the machines' images need Debian's busybox-static: {error}") from None
    code = b"".join(path.read_bytes() for path in sorted(Path(store_module.__file__).parent.glob("*.py")))
    digest = hashlib.sha256(b"".join(hashlib.sha256(data).digest() for data in (code, *archives.values()))).hexdigest()
    folder = kernel.cache() / f"{PREFIX}{digest[:16]}"
    if folder.is_dir():
        return folder
    kernel.cache().mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".new-", dir=kernel.cache()))
    try:
        store = ImageStore(scratch / "images")
        try:
            for data in archives.values():
                store.load(io.BytesIO(data))
        finally:
            store.close()
        for old in kernel.cache().glob(f"{PREFIX}*"):
            shutil.rmtree(old, ignore_errors=True)
        if not folder.exists():
            (scratch / "images").rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder
