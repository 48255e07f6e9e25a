"""Image archives: both layouts, layers over one another, damage, and names that lead outside."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from linkerd.errors import LocalError
from linkerd.local import archive

Files = dict[str, bytes | str]  # text: a symbolic link's target


def a_tar(files: Files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


CONFIG = {"config": {"Entrypoint": ["/app"], "Env": ["A=b=c"], "User": "web", "WorkingDir": "/srv"}}


def docker_save(folder: Path, *layers: bytes) -> Path:
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "c.json", "RepoTags": ["shop/cart:v1"], "Layers": names}]
    files: Files = {"manifest.json": json.dumps(manifest).encode()}
    files["c.json"] = json.dumps(CONFIG).encode()
    file = folder / "image.tar"
    file.write_bytes(a_tar({**files, **dict(zip(names, layers, strict=True))}))
    return file


def oci_layout(folder: Path, layer: bytes, *, damaged: bool = False) -> Path:
    blobs: Files = {}

    def blob(data: bytes, **more: Any) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data + b"!" if damaged and not more else data
        return {"digest": f"sha256:{digest}", "size": len(data), **more}

    layers = [blob(gzip.compress(layer))]
    config = blob(json.dumps(CONFIG).encode(), kind="config")
    manifest = blob(json.dumps({"config": config, "layers": layers}).encode(), kind="manifest")
    platforms = {"manifests": [{**manifest, "platform": {"os": "linux", "architecture": "amd64"}}]}
    index = blob(json.dumps(platforms).encode(), kind="index")
    index["annotations"] = {"org.opencontainers.image.ref.name": "shop/cart:v2"}
    blobs["index.json"] = json.dumps({"manifests": [index]}).encode()
    file = folder / "oci.tar"
    file.write_bytes(a_tar(blobs))
    return file


PASSWD = b"root:x:0:0::/:\nweb:x:101:102::/:\n"


def test_layers_lie_over_one_another(tmp_path: Path) -> None:
    first = a_tar({"etc/passwd": PASSWD, "a/old": b"1", "a/kept": b"2", "b/x": b"3"})
    second = a_tar({"a/.wh.old": b"", "b/.wh..wh..opq": b"", "b/y": b"4", "app": b"5"})
    entries = archive.load(docker_save(tmp_path, first, second), tmp_path / "images", "amd64")
    entry = entries["shop/cart:v1"]
    root = Path(entry.pop("root"))
    expected = {"entrypoint": ["/app"], "cmd": [], "env": {"A": "b=c"}, "user": "101:102"}
    assert {**expected, "cwd": "/srv"} == entry
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert {"etc/passwd", "a/kept", "b/y", "app"} == found


def test_an_oci_layout_is_led_to_its_platform(tmp_path: Path) -> None:
    file = oci_layout(tmp_path, a_tar({"etc/passwd": PASSWD}))
    assert ["shop/cart:v2"] == list(archive.load(file, tmp_path / "images", "amd64"))
    with pytest.raises(LocalError, match="no image for linux/arm64"):
        archive.load(file, tmp_path / "images", "arm64")


def test_a_damaged_layer_leaves_nothing(tmp_path: Path) -> None:
    file = oci_layout(tmp_path, a_tar({"etc/passwd": PASSWD}), damaged=True)
    with pytest.raises(LocalError, match=r"damaged|no image archive"):
        archive.load(file, tmp_path / "images", "amd64")
    assert not list(tmp_path.glob("images/*/rootfs*"))


@pytest.mark.parametrize(
    "files",
    [
        {"../../escaped": b"x"},
        {"/../escaped": b"x"},
        {"link": "{outside}", "link/escaped": b"x"},
        {"link": "../../../../../../../../{outside}", "link/escaped": b"x"},
    ],
)
def test_nothing_is_made_outside(tmp_path: Path, files: Files) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    filled: Files = {
        name: data.replace("{outside}", str(outside)) if isinstance(data, str) else data
        for name, data in files.items()
    }
    layer = a_tar({"etc/passwd": PASSWD, **filled})
    archive.load(docker_save(tmp_path, layer), tmp_path / "images", "amd64")
    assert [] == list(outside.iterdir())
    root = next(tmp_path.glob("images/*/rootfs"))
    assert [] == [path for path in tmp_path.rglob("escaped") if root not in path.parents]


def test_what_is_no_archive_says_so(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(LocalError, match="no image archive"):
        archive.load(tmp_path / "x", tmp_path / "images", "amd64")
