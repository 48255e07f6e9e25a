"""The images that are built without an engine: same bytes each time, small, with their capability.

That they run is shown by every other test of this folder.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from images import build, oci, trees
from images.oci import Entry, Image, Run
from linkerd import VERSION
from tests.integration.mesh import ROOT
from tests.kubernetes.mesh import PROXY

_NAMES = [f"{build.REGISTRY}/{name}:{VERSION}" for name in ("proxy", "proxy-init", "cni-plugin")]


def _files(layer: oci.Layer) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(layer.blob))) as tar:
        return {one.name: one for one in tar}


def test_the_order_of_entries_does_not_matter() -> None:
    entries = [Entry("/a/b", b"1"), Entry("/a/c", b"2", mode=0o755), Entry("/d", target="a")]
    assert oci.layer(entries) == oci.layer(reversed(entries))


def test_folders_are_added_and_nothing_tells_of_the_builder() -> None:
    files = _files(oci.layer([Entry("/a/b/c", b"1")]))
    assert ["a", "a/b", "a/b/c"] == list(files)
    assert {(0, 0, 0, "", "")} == {
        (one.mtime, one.uid, one.gid, one.uname, one.gname) for one in files.values()
    }


def test_two_entries_of_a_path_are_refused() -> None:
    with pytest.raises(ValueError, match="two entries for /a"):
        oci.layer([Entry("/a", b"1"), Entry("/a", b"2")])


def test_an_archive_holds_a_shared_layer_once(tmp_path: Path) -> None:
    shared = oci.layer([Entry("/a", b"1")])
    images = {f"example.com/{name}:1": Image((shared,), Run((name,))) for name in ("x", "y")}
    oci.archive(tmp_path / "one.tar", images)
    oci.archive(tmp_path / "two.tar", images)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as tar:
        blobs = [one for one in tar.getnames() if one.startswith("blobs/")]
        index = json.loads(tar.extractfile("index.json").read())  # type: ignore[union-attr]
    # One layer, two configurations, two manifests.
    assert 5 == len(blobs)
    names = [one["annotations"]["io.containerd.image.name"] for one in index["manifests"]]
    assert ["example.com/x:1", "example.com/y:1"] == names


@pytest.mark.skipif(not PROXY.exists(), reason="needs the proxy's release build")
def test_the_data_planes_images_are_small_the_same_and_only_init_has_capabilities() -> None:
    images = build.data_plane(PROXY)
    assert images == build.data_plane(PROXY)
    assert _NAMES == list(images)
    for name, image in images.items():
        files = _files(image.layers[0])
        assert sum(one.size for one in files.values()) <= build.PROXY_BYTES_MAX
        headers = files["usr/lib/linkerd/linkerd-proxy"].pax_headers
        has = {key for key in headers if key.startswith("SCHILY.xattr.")}
        assert has == ({"SCHILY.xattr.security.capability"} if "init" in name else set())


@pytest.mark.skipif(not PROXY.exists(), reason="needs the proxy's release build")
def test_the_proxy_runs_with_any_c_library_of_a_node() -> None:
    assert [] == trees.libraries([PROXY])


@pytest.mark.skipif(not PROXY.exists(), reason="needs the proxy's release build")
@pytest.mark.timeout(600)
def test_two_processes_build_the_same_bytes(tmp_path: Path) -> None:
    # Sets iterate in another order in each, which byte code and tables must not show.
    folders = [tmp_path / "one", tmp_path / "two"]
    command = [sys.executable, "-m", "images.build", "--proxy", str(PROXY), "--output"]
    running = [
        subprocess.Popen(
            [*command, str(folder)], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)}
        )
        for seed, folder in enumerate(folders, 1)
    ]
    assert [0, 0] == [process.wait() for process in running]
    one, two = ({path.name: _digest(path) for path in folder.iterdir()} for folder in folders)
    assert one == two
    assert {"control-plane.tar", "demo.tar", "prometheus.tar", "proxy.tar"} == set(one)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
