"""The image table: image name → the local command that stands in for it.

    {"cr.l5d.io/linkerd/proxy": {"entrypoint": ["/…/linkerd-proxy"], "cmd": [], "env": {}, "user": null,
                                 "links": {"/usr/lib/linkerd/linkerd-await": "/…/linkerd-await"}}}

A name with a tag matches that tag, one without matches every tag and digest; names are compared as
Docker writes them out (`nginx` = `docker.io/library/nginx`). `links` are symbolic links that the
container finds at fixed paths, as it would in the image. With `root`, the folder of an imported
archive, the container has that as its root; without, the host's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from linkerd.errors import LocalError


@dataclass(frozen=True)
class Image:
    """What an image says about the process that runs from it."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    cwd: str = "/"
    links: Mapping[str, str] = field(default_factory=dict)
    root: str = ""


def parse(table: Any) -> dict[str, Image]:
    """Returns the table by full image name.

    Raises:
        LocalError: an entry is no image; the message names it.
    """
    if not isinstance(table, dict):
        raise LocalError("image table is no mapping")
    images: dict[str, Image] = {}
    for name, entry in table.items():
        try:
            user = entry.get("user")
            images[full_name(name)] = Image(
                tuple(map(str, entry.get("entrypoint") or ())),
                tuple(map(str, entry.get("cmd") or ())),
                {str(key): str(value) for key, value in (entry.get("env") or {}).items()},
                "" if user is None else str(user),
                str(entry.get("cwd") or "/"),
                dict(entry.get("links") or {}),
                str(entry.get("root") or ""),
            )
        except (AttributeError, TypeError, ValueError):
            raise LocalError(f"image {name} in the table is malformed: {entry!r}") from None
    return images


def full_name(name: str) -> str:
    """Returns an image's name with registry and without `@digest`.

    Source: distribution/reference (ParseNormalizedNamed).
    """
    name = name.partition("@")[0]
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    if "." not in first and ":" not in first and first != "localhost":
        return f"docker.io/{name}"
    return name


def find(images: Mapping[str, Image], name: str) -> Image | None:
    """Returns the image that a pod names, None if the table has none."""
    full = full_name(name)
    found = images.get(full)
    if found is None and ":" in full.rpartition("/")[2]:
        found = images.get(full.rpartition(":")[0])
    return found


class ImageTable:
    """The table on disk; read again when the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._images: dict[str, Image] = {}

    def find(self, name: str) -> Image | None:
        """Returns the image that a pod names, None if there is none.

        Raises:
            LocalError: the table on disk is malformed.
        """
        try:
            found = os.stat(self._path)
            stamp = (found.st_mtime_ns, found.st_ino)
            if stamp != self._stamp:
                self._images = parse(json.loads(self._path.read_text(encoding="utf-8")))
                self._stamp = stamp
        except FileNotFoundError:
            self._images, self._stamp = {}, None
        except ValueError as error:
            raise LocalError(f"image table {self._path} is no JSON: {error}") from None
        return find(self._images, name)
