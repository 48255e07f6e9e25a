"""Copy files between this machine and a container, by the container's tar.

Examples:
  linkerd local kubectl cp ./page.html web-5f86686c4d-58p7k:/tmp/page.html -n shop
  linkerd local kubectl cp shop/web-5f86686c4d-58p7k:/var/log ./logs -c app
"""

from __future__ import annotations

import argparse
import os
import posixpath
import sys
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, NamedTuple

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterator

    from linkerd.kube.client import KubeClient

SUMMARY = "Copy files between this machine and a container"
USAGE = "FROM TO, one of them [NAMESPACE/]POD:PATH"
_CHUNK = 32768


class Remote(NamedTuple):
    """A path in a pod; `namespace` is empty when the command names it elsewhere."""

    namespace: str
    pod: str
    path: str


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("source", metavar="FROM", help="for instance ./page.html")
    parser.add_argument("target", metavar="TO", help="for instance web-…:/tmp/page.html")
    parser.add_argument("-c", "--container", default="", help="container; default the first")
    _args.add_namespace(parser, "namespace of the pod")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Copies."""
    from linkerd.cli import _connect
    from linkerd.cli.local import _cluster

    source, target = remote(args.source), remote(args.target)
    far = source or target
    if far is None or (source and target):
        raise UsageError("one of the two must be [NAMESPACE/]POD:PATH")
    if target and not os.path.exists(args.source):
        raise UsageError(f"{args.source} doesn't exist in local filesystem")
    here = os.path.abspath(args.source)
    config = _cluster.config(args)
    namespace = far.namespace or args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        from linkerd.cli.local import _pods

        pod = await _pods.find(kube, far.pod, namespace)
        container = args.container or _pods.main_container(pod)
        name = pod["metadata"]["name"]
        if source is not None:
            return await _download(kube, name, namespace, container, far.path, args.target)
        return await _upload(kube, name, namespace, container, here, far.path)

    return _connect.run(config, main)


def remote(word: str) -> Remote | None:
    """Returns the pod and path that a word names, None for a file of this machine.

    Raises:
        UsageError: the path is missing.
    """
    place, colon, path = word.partition(":")
    if not colon or word.startswith((".", "/")):
        return None
    namespace, _, pod = place.rpartition("/")
    if not pod or not path:
        raise UsageError(f"{word}: expected [NAMESPACE/]POD:PATH")
    return Remote(namespace, pod, path)


async def _download(
    kube: KubeClient, pod: str, namespace: str, container: str, path: str, target: str
) -> int:
    import tarfile
    import tempfile

    folder, name = posixpath.split(posixpath.normpath(path))
    command = ["tar", "cf", "-", "-C", folder or ".", name or "."]
    with tempfile.TemporaryFile() as archive:
        code = await _exec(kube, pod, namespace, container, command, output=archive)
        if code:
            return code
        archive.seek(0)
        with tarfile.open(fileobj=archive) as members:
            unpack(members, name, target)
    return 0


async def _upload(
    kube: KubeClient, pod: str, namespace: str, container: str, source: str, path: str
) -> int:
    import tarfile
    import tempfile

    test = ["test", "-d", path]
    if path.endswith("/") or await _exec(kube, pod, namespace, container, test) == 0:
        path = posixpath.join(path, posixpath.basename(source))
    folder, name = posixpath.split(posixpath.normpath(path))
    with tempfile.TemporaryFile() as archive:
        with tarfile.open(fileobj=archive, mode="w") as members:
            members.add(source, arcname=name)
        archive.seek(0)
        command = ["tar", "xmf", "-", "--no-same-owner", "-C", folder or "."]
        return await _exec(kube, pod, namespace, container, command, given=archive)


def unpack(members: tarfile.TarFile, first: str, target: str) -> None:
    """Writes what was asked for to `target`, or into it when that is a folder.

    The archive is a container's, which may be hostile: links are never made, and what would land
    elsewhere is left out, with a word.

    Args:
        members: The archive; names begin with `first`.
        first: Name of what was asked for; `.` for all of a folder.
        target: Path on this machine.
    """
    top = Path(target, first) if os.path.isdir(target) else Path(target)
    for member in members:
        inside = PurePosixPath(member.name)
        parts = inside.parts if first == "." else inside.parts[1:]
        if ".." in parts or inside.is_absolute() or not (member.isfile() or member.isdir()):
            print(f"warning: skipping {member.name}: no file or folder", file=sys.stderr)
            continue
        path = top.joinpath(*parts)
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        content = members.extractfile(member)
        assert content is not None  # it is a file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
        path.chmod(member.mode & 0o777)


async def _exec(
    kube: KubeClient,
    pod: str,
    namespace: str,
    container: str,
    command: list[str],
    *,
    given: IO[bytes] | None = None,
    output: IO[bytes] | None = None,
) -> int:
    """Runs a command to its end with `given` as its input, and writes its output."""
    from linkerd.kube import streams

    def write(channel: int, data: bytes) -> None:
        if channel == streams.STDERR:
            print(data.decode("utf-8", "replace"), end="", file=sys.stderr)
        elif output is not None:
            output.write(data)

    chunks = None if given is None else _chunks(given)
    return await streams.run(kube, pod, namespace, command, write, container, chunks)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
