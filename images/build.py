"""Builds the container images as OCI archives below dist/images, without a container engine.

    python -m images.build [--proxy target/release/linkerd-proxy] [--output dist/images]

| archive | images |
|---|---|
| control-plane.tar | controller, policy-controller, metrics-api, web, tap: one set of layers |
| proxy.tar | proxy, proxy-init, cni-plugin |
| demo.tar | emojivoto's, http-echo |
| prometheus.tar | Prometheus as Debian ships it, with the discovery that it lacks |

The same machine builds the same bytes. With an engine at hand, images/*.Dockerfile do the like.
"""

from __future__ import annotations

import argparse
import functools
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from images import oci, trees
from images.oci import Entry, Image, Run
from linkerd import VERSION

ROOT = Path(__file__).resolve().parent.parent
REGISTRY = "cr.l5d.io/linkerd"
EMOJIVOTO = "docker.l5d.io/buoyantio"
EMOJIVOTO_TAG = "v11"
PROMETHEUS_TAG = "v2.55.1"
#: What a node pulls for the data plane stays below this, compressed and unpacked alike.
PROXY_BYTES_MAX = 12_000_000
_PROXY = "/usr/lib/linkerd/linkerd-proxy"
#: What the proxy's binary is called where manifests name other programs.
PROXY_NAMES = ("linkerd-await", "linkerd2-network-validator")
_DAEMONS = ("python3", "-m", "linkerd.daemons")
_PYTHON_ENV = {
    "PYTHONUNBUFFERED": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    # One arena keeps a process of many threads small.
    "MALLOC_ARENA_MAX": "2",
}
_PROXY_USER = "2102"
_USER = "2103"


def main(argv: list[str] | None = None) -> int:
    """Builds all archives; prints their sizes."""
    parser = argparse.ArgumentParser(description="Build the images as OCI archives.")
    parser.add_argument("--output", type=Path, default=ROOT / "dist/images")
    parser.add_argument("--proxy", type=Path, default=ROOT / "target/release/linkerd-proxy")
    args = parser.parse_args(argv)
    if not args.proxy.exists():
        print("  proxy, release profile …", flush=True)
        # Static: the CNI plugin also runs on nodes whose C library is older than ours.
        command = ["cargo", "rustc", "--locked", "--release", "--package", "linkerd-proxy"]
        command += ["--bin", "linkerd-proxy", "--", "-C", "target-feature=+crt-static"]
        subprocess.run(command, cwd=ROOT, check=True)
    for name, images in archives(args.proxy).items():
        path = args.output / f"{name}.tar"
        oci.archive(path, images)
        print(f"  {path}  {path.stat().st_size / 1e6:.1f} MB: {' '.join(sorted(images))}")
    return 0


def archives(proxy: Path) -> dict[str, Mapping[str, Image]]:
    """Returns the images by archive and full name.

    Args:
        proxy: The `linkerd-proxy` to put into the data plane's images.

    Raises:
        ValueError: the proxy image is larger than `PROXY_BYTES_MAX`.
        FileNotFoundError: Prometheus is not installed.
    """
    started = time.monotonic()
    layers = python_layers()
    built: dict[str, Mapping[str, Image]] = {"proxy": data_plane(proxy)}
    built["control-plane"] = {
        f"{REGISTRY}/{name}:{VERSION}": Image(layers, _python(*command, user=_USER))
        for name, command in {
            "controller": _DAEMONS,
            "policy-controller": (*_DAEMONS, "policy"),
            **{name: (*_DAEMONS, name) for name in ("metrics-api", "web", "tap")},
        }.items()
    }
    built["demo"] = _demo(layers)
    built["prometheus"] = _prometheus(layers)
    print(f"  layers: {time.monotonic() - started:.1f} s")
    return built


@functools.cache
def python_layers() -> tuple[oci.Layer, ...]:
    """Returns Python, what requirements.txt pins, and our package: the least changed lowest."""
    pinned = trees.pinned(ROOT / "requirements.txt")
    return (
        oci.layer([*trees.system(), *trees.python()]),
        oci.layer(trees.distributions(pinned)),
        oci.layer(trees.package(ROOT / "linkerd", f"{trees.SITE}/linkerd")),
    )


def data_plane(proxy: Path) -> dict[str, Image]:
    """Returns the images of the proxy, its init container and the CNI plugin.

    The binary is static; all that is added are `sleep` with its C library, and the names by which
    the one binary is other programs.
    """

    def image(capabilities: tuple[str, ...], run: Run) -> Image:
        binary = Entry(_PROXY, proxy, mode=0o755, capabilities=capabilities)
        # What the annotation proxy-wait-before-exit-seconds runs.
        sleep = Path("/bin/sleep")
        names = [Entry(f"/usr/lib/linkerd/{name}", target=_PROXY) for name in PROXY_NAMES]
        entries = [*trees.system(), binary, *names, *trees.program(sleep)]
        entries += trees.libraries([proxy, sleep])
        size = sum(one.data.stat().st_size for one in entries if isinstance(one.data, Path))
        if size > PROXY_BYTES_MAX:
            raise ValueError(f"proxy image is {size} bytes: expected at most {PROXY_BYTES_MAX}")
        return Image((oci.layer(entries),), run)

    return {
        f"{REGISTRY}/proxy:{VERSION}": image((), Run((_PROXY,), user=_PROXY_USER)),
        # Permitted only: the init container's process, which is not root, raises them itself.
        f"{REGISTRY}/proxy-init:{VERSION}": image(
            ("net_admin", "net_raw"), Run((_PROXY, "init"), user="65534")
        ),
        f"{REGISTRY}/cni-plugin:{VERSION}": image((), Run((_PROXY, "cni"))),
    }


def _demo(layers: tuple[oci.Layer, ...]) -> dict[str, Image]:
    # The manifest starts it by name; the images have no `env` to find Python with.
    script = (ROOT / "demo/bin/emojivoto-vote-bot").read_bytes()
    script = script.replace(b"#!/usr/bin/env python3", b"#!/usr/local/bin/python3")
    bot = oci.layer([Entry("/usr/local/bin/emojivoto-vote-bot", script, mode=0o755)])
    images = {
        f"{EMOJIVOTO}/emojivoto-{name}:{EMOJIVOTO_TAG}": Image(
            (*layers, bot), _python("python3", "-m", "linkerd._demo.emojivoto", name)
        )
        for name in ("web", "emoji-svc", "voting-svc")
    }
    echo = _python("python3", "-m", "linkerd._demo.http_echo")
    images["docker.io/hashicorp/http-echo:latest"] = Image(layers, echo)
    return images


def _prometheus(layers: tuple[oci.Layer, ...]) -> dict[str, Image]:
    found = shutil.which("prometheus")
    if found is None:
        raise FileNotFoundError("prometheus is not installed: apt-get install prometheus")
    binary = Path(found)
    present = {entry.path for entry in trees.python()}
    needed = [one for one in trees.libraries([binary]) if one.path not in present]
    own = oci.layer([*trees.program(binary, "/usr/bin/prometheus"), *needed])
    run = _python(*_DAEMONS, "prometheus", user="65534")
    return {f"docker.io/prom/prometheus:{PROMETHEUS_TAG}": Image((*layers, own), run)}


def _python(*entrypoint: str, user: str = "") -> Run:
    return Run(entrypoint, env=_PYTHON_ENV, user=user)


if __name__ == "__main__":
    sys.exit(main())
