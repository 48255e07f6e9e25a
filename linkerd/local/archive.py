"""Image archives: `docker save` and OCI layouts, as one tar file → a root folder and a table entry.

    docker save     manifest.json: [{Config, RepoTags, Layers}]
    OCI layout      index.json → manifest (→ of this architecture) → config, layers; digests are checked

Layers are unpacked one over the other, with whiteouts; nothing in an archive can make a file outside
of the root folder. Device files are left out. Only root keeps the files' owners.
Source: opencontainers/image-spec image-layout.md, layer.md; moby image/spec/v1.2.md.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import posixpath
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from linkerd.errors import LocalError

_JSON_BYTES_MAX = 8 << 20
_LINKS_MAX = 40
_OPAQUE, _WHITEOUT = ".wh..wh..opq", ".wh."
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

Entry = dict[str, Any]


@dataclass(frozen=True)
class _Image:
    names: tuple[str, ...]
    config: Mapping[str, Any]
    layers: tuple[str, ...]
    id: str


def load(file: Path, folder: Path, architecture: str) -> dict[str, Entry]:
    """Unpacks every image of an archive.

    Args:
        file: The archive.
        folder: Where each image gets a folder of its own; one that is there already is kept.
        architecture: As Kubernetes names it; for archives with several.

    Returns:
        The image table's entries by name; an image without a name is under "".

    Raises:
        LocalError: it is no such archive, or damaged, or the disk is full.
    """
    try:
        with tarfile.open(file) as archive:
            entries: dict[str, Entry] = {}
            for image in _images(archive, architecture):
                root = folder / image.id / "rootfs"
                if not root.exists():
                    _unpack(archive, image, root)
                for name in image.names or ("",):
                    entries[name] = _entry(image.config, root)
            return entries
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, KeyError, ValueError) as error:
        raise LocalError(f"{file} is no image archive: {error}") from error
    except OSError as error:
        raise LocalError(f"{file} cannot be imported: {error}") from error


def _images(archive: tarfile.TarFile, architecture: str) -> Iterator[_Image]:
    names = set(archive.getnames())
    if "manifest.json" in names:
        for item in _json(archive, "manifest.json"):
            config = _json(archive, item["Config"])
            id = hashlib.sha256(json.dumps(item["Layers"] + [config]).encode()).hexdigest()
            yield _Image(tuple(item.get("RepoTags") or ()), config, tuple(item["Layers"]), id)
    elif "index.json" in names:
        for descriptor in _json(archive, "index.json")["manifests"]:
            manifest = _manifest(archive, descriptor, architecture)
            notes = descriptor.get("annotations") or {}
            name = next((notes[key] for key in _NAMES if key in notes), "")
            layers = tuple(_blob(layer) for layer in manifest["layers"])
            config = _json(archive, _blob(manifest["config"]))
            id = manifest["config"]["digest"].partition(":")[2]
            yield _Image((name,) if name else (), config, layers, id)
    else:
        raise LocalError("the archive has neither manifest.json nor index.json")


def _manifest(
    archive: tarfile.TarFile, descriptor: Mapping[str, Any], architecture: str
) -> dict[str, Any]:
    found: dict[str, Any] = _json(archive, _blob(descriptor))
    for one in found.get("manifests") or ():
        platform = one.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return _manifest(archive, one, architecture)
    if "manifests" in found:
        raise LocalError(f"the archive has no image for linux/{architecture}")
    return found


def _blob(descriptor: Mapping[str, Any]) -> str:
    algorithm, _, digest = descriptor["digest"].partition(":")
    return f"blobs/{algorithm}/{digest}"


def _json(archive: tarfile.TarFile, name: str) -> Any:
    with _opened(archive, name) as stream:
        data = stream.read(_JSON_BYTES_MAX)
    if name.startswith("blobs/sha256/") and hashlib.sha256(data).hexdigest() != name[13:]:
        raise LocalError(f"{name} is damaged: its digest is another")
    return json.loads(data)


@contextlib.contextmanager
def _opened(archive: tarfile.TarFile, name: str) -> Iterator[IO[bytes]]:
    stream = archive.extractfile(name)
    if stream is None:
        raise LocalError(f"{name} of the archive is no file")
    with stream:
        yield stream


def _unpack(archive: tarfile.TarFile, image: _Image, root: Path) -> None:
    fresh = root.with_name("rootfs.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        for layer in image.layers:
            with _opened(archive, layer) as stream:
                checked = _Checked(stream, layer)
                with tarfile.open(fileobj=_plain(checked), mode="r|") as members:
                    _apply(members, str(fresh))
                checked.finish()
        fresh.chmod(0o755)
        fresh.rename(root)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


class _Checked(io.RawIOBase):
    """A layer's bytes as they are read; `finish` compares their digest with the name's."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._hash = hashlib.sha256()
        self.first = stream.read(6)
        self._ahead = self.first
        self._hash.update(self.first)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._ahead:
            data, self._ahead = self._ahead[: len(buffer)], self._ahead[len(buffer) :]
        else:
            data = self._stream.read(len(buffer))
            self._hash.update(data)
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> None:
        while data := self._stream.read(1 << 20):
            self._hash.update(data)
        digest = self._name.removeprefix("blobs/sha256/")
        if digest != self._name and digest != self._hash.hexdigest():
            raise LocalError(f"{self._name} is damaged: its digest is another")


def _plain(layer: _Checked) -> IO[bytes]:
    buffered = io.BufferedReader(layer, 1 << 16)
    if layer.first.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=buffered)  # type: ignore[return-value]
    if layer.first.startswith(b"\x28\xb5\x2f\xfd"):
        raise LocalError(
            "a layer is compressed with zstd, which is not supported",
            hint="save the image with gzip, e.g. docker save NAME | gzip",
        )
    return buffered


def _apply(members: tarfile.TarFile, root: str) -> None:
    """Unpacks one layer over what is in `root`."""
    modes: list[tuple[str, int]] = []
    for member in members:
        path = inside(root, member.name)
        folder, name = os.path.split(path)
        if path == root:
            continue
        os.makedirs(folder, exist_ok=True)
        if name == _OPAQUE:
            for entry in os.listdir(folder):
                _remove(os.path.join(folder, entry))
        elif name.startswith(_WHITEOUT):
            _remove(os.path.join(folder, name.removeprefix(_WHITEOUT)))
        elif member.isdir():
            if os.path.islink(path) or not os.path.isdir(path):
                _remove(path)
                os.mkdir(path)
            modes.append((path, member.mode & 0o7777))
        else:
            _remove(path)
            _make(members, member, root, path)
        if os.geteuid() == 0 and os.path.lexists(path):
            os.chown(path, member.uid, member.gid, follow_symlinks=False)
            if member.isfile():
                os.chmod(path, member.mode & 0o7777)  # a change of owner clears setuid
    for path, mode in reversed(modes):  # last, so that a closed folder can still be filled
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, mode | 0o700)


def _make(members: tarfile.TarFile, member: tarfile.TarInfo, root: str, path: str) -> None:
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        os.link(inside(root, member.linkname), path, follow_symlinks=False)
    elif member.isfile():
        source = members.extractfile(member)
        assert source is not None
        with source, open(path, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 18)
        os.chmod(path, member.mode & 0o7777)


def inside(root: str, name: str) -> str:
    """Returns where a name of an archive is below `root`; its folders' links stay below it too.

    Raises:
        ValueError: the links lead in a circle.
    """
    left = [part for part in posixpath.normpath("/" + name).split("/") if part]
    path, links = root, 0
    while left:
        part = left.pop(0)
        if part == "..":
            path = path if path == root else os.path.dirname(path)
            continue
        step = os.path.join(path, part)
        if left and os.path.islink(step):
            links += 1
            if links > _LINKS_MAX:
                raise ValueError(f"{name}: too many links")
            target = os.readlink(step)
            left = [part for part in target.split("/") if part not in ("", ".")] + left
            path = root if target.startswith("/") else path
            continue
        path = step
    return path


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _entry(config: Mapping[str, Any], root: Path) -> Entry:
    inner = config.get("config") or {}
    return {
        "entrypoint": inner.get("Entrypoint") or [],
        "cmd": inner.get("Cmd") or [],
        "env": dict(pair.split("=", 1) for pair in inner.get("Env") or () if "=" in pair),
        "user": numbers(inner.get("User") or "", root),
        "cwd": inner.get("WorkingDir") or "/",
        "root": str(root),
    }


def numbers(user: str, root: Path) -> str | None:
    """Returns `uid:gid` of an image's user, whose names are those of the image's own files.

    Raises:
        LocalError: the image has no such user or group.
    """
    if not user:
        return None
    name, _, group = user.partition(":")
    people = _table(root, "etc/passwd")
    fields = people.get(name) or next((f for f in people.values() if f[2] == name), None)
    if not name.isdigit() and fields is None:
        raise LocalError(f"the image's user {name!r} is not in its /etc/passwd")
    uid = name if name.isdigit() else fields[2]  # type: ignore[index]
    if not group:
        return f"{uid}:{fields[3]}" if fields else uid
    if not group.isdigit():
        found = _table(root, "etc/group").get(group)
        if found is None:
            raise LocalError(f"the image's group {group!r} is not in its /etc/group")
        group = found[2]
    return f"{uid}:{group}"


def _table(root: Path, name: str) -> dict[str, list[str]]:
    try:
        text = Path(inside(str(root), name)).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = [line.split(":") for line in text.splitlines()]
    return {fields[0]: fields for fields in lines if len(fields) >= 4}
