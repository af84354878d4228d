"""Files that are too large for the database, behind one small interface. Here: a folder; elsewhere: an object store."""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Protocol

from fleet.common.errors import InvalidInput, NotFound

_KEY: Final = re.compile(r"[a-z0-9_-]{1,32}/[A-Za-z0-9._-]{1,128}")


class BlobNotFound(NotFound):
    code = "blob_not_found"


class WrongContent(InvalidInput):
    """What was brought is not what was announced."""

    code = "wrong_content"


class Incoming(Protocol):
    """A file on its way in: nothing is there until `keep`."""

    def write(self, data: bytes) -> None: ...

    def keep(self, *, size: int, sha256: str) -> None:
        """Make it the content of its key, whole and on disk. Raises WrongContent for another size or digest (hex)."""


class Blobs(Protocol):
    """Keys are `kind/name`. Content never changes under a key."""

    @contextmanager
    def incoming(self, key: str) -> Iterator[Incoming]: ...

    def open(self, key: str) -> IO[bytes]:
        """For reading, with `seek`. Raises BlobNotFound."""

    def exists(self, key: str) -> bool: ...

    def delete(self, key: str) -> None:
        """Also when it is not there."""


class FolderBlobs:
    """One file per key below `root`; written beside its place, synced, and moved there in one step."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def incoming(self, key: str) -> Iterator[Incoming]:
        path = self._path(key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".incoming-")
        with os.fdopen(handle, "wb") as file:
            try:
                yield _IncomingFile(file, Path(name), path)
            finally:
                Path(name).unlink(missing_ok=True)

    def open(self, key: str) -> IO[bytes]:
        try:
            return self._path(key).open("rb")
        except FileNotFoundError:
            raise BlobNotFound(f"there is no file {key}", key=key) from None

    def exists(self, key: str) -> bool:
        return self._path(key).exists()

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key) or ".." in key:
            raise BlobNotFound(f"{key[:100]!r} is no key", key=key[:100])
        return self._root / key


class _IncomingFile:
    def __init__(self, file: IO[bytes], written: Path, wanted: Path) -> None:
        self._file = file
        self._written = written
        self._wanted = wanted
        self._hash = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def keep(self, *, size: int, sha256: str) -> None:
        if (self._size, self._hash.hexdigest()) != (size, sha256):
            found = f"{self._size} bytes with SHA-256 {self._hash.hexdigest()}"
            raise WrongContent(f"expected {size} bytes with SHA-256 {sha256}, got {found}", field="body")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._written.replace(self._wanted)
