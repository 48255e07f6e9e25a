"""A pod's volumes on this node: made before its containers start, refreshed while they run.

What they hold is `volumes`' business; this edge fetches tokens, writes files and says what is
bound where.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linkerd import runtime
from linkerd.errors import KubeError, LocalError
from linkerd.kube.resources import (
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SERVICE_ACCOUNTS,
)
from linkerd.local.node import volumes
from linkerd.local.node.environment import expand
from linkerd.local.node.parts import Parts
from linkerd.local.node.volumes import File, TokenRequest
from linkerd.local.paths import VOLUME_DRIVER

_TOKEN_RETRY_S = 5.0
_REFRESH_AT = 0.8

Object = dict[str, Any]


class Volumes:
    """All volumes of one pod."""

    def __init__(self, folder: Path, node: Parts) -> None:
        self._folder = folder / "volumes"
        self._node = node
        self._written: dict[str, dict[str, File]] = {}
        self._tokens: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._claimed: dict[str, Path] = {}
        self.made = False

    async def make(self, pod: Object) -> None:
        """Makes every volume; may be called again.

        Raises:
            LocalError: a volume's kind is not supported, or what it shows is not there.
            KubeError: a token was refused.
            OSError: the disk refused.
        """
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            folder = self._folder / volume["name"]
            if volumes.is_rendered(volume):
                await self._write(volume, pod, group)
            elif volume.get("emptyDir") is not None:
                if not _in_memory(volume):
                    _make_folder(folder, group)
            elif volume.get("hostPath") is not None:
                volumes.host_path(volume)
            elif volume.get("persistentVolumeClaim") is not None:
                self._claimed[volume["name"]] = await self._claim(volume, pod, group)
            else:
                kinds = [key for key in volume if key != "name"]
                raise LocalError(f"volume {volume['name']}: {' '.join(kinds)} is not supported")
        if not self.made and self._tokens:
            runtime.spawn(self._renew(pod), name="tokens", into=self._tasks)
        self.made = True

    async def refresh(self, pod: Object) -> None:
        """Writes rendered volumes whose content changed.

        Raises:
            LocalError, KubeError, OSError: as `make`.
        """
        group = (pod["spec"].get("securityContext") or {}).get("fsGroup")
        for volume in pod["spec"].get("volumes") or ():
            if volumes.is_rendered(volume):
                await self._write(volume, pod, group)

    def close(self) -> None:
        """Stops renewing tokens."""
        for task in list(self._tasks):
            task.cancel()

    def mounts(
        self, pod: Object, container: Mapping[str, Any], env: Mapping[str, str]
    ) -> list[Object]:
        """Returns what the zygote binds into a container.

        Raises:
            LocalError: a mount names no volume, or a subPath is wrong.
        """
        known = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
        result: list[Object] = []
        for mount in container.get("volumeMounts") or ():
            volume = known.get(mount["name"])
            if volume is None:
                raise LocalError(f"volumeMount {mount['name']} names no volume")
            rendered = volumes.is_rendered(volume)
            item: Object = {
                "target": os.path.normpath(mount["mountPath"]),
                "read_only": rendered or bool(mount.get("readOnly")),
            }
            sub_path = mount.get("subPath") or expand(mount.get("subPathExpr") or "", env)
            if _in_memory(volume):
                item |= {"memory": volume["name"], "sub_path": sub_path, "source": ""}
            elif volume["name"] in self._claimed:
                item["source"] = str(self._claimed[volume["name"]])
                if sub_path:
                    folder = self._claimed[volume["name"]]
                    item["source"] = str(volumes.inside(folder, sub_path, make=True))
            elif volume.get("hostPath") is not None:
                item["source"] = os.path.join(volume["hostPath"]["path"], sub_path)
            elif sub_path:
                folder = self._folder / volume["name"]
                item["source"] = str(volumes.inside(folder, sub_path, make=not rendered))
            else:
                item["source"] = str(self._folder / volume["name"])
            result.append(item)
        return result

    async def _claim(self, volume: Object, pod: Object, group: int | None) -> Path:
        """Returns the folder of a claim's volume, made if it is one of ours."""
        name = volume["persistentVolumeClaim"]["claimName"]
        kube = self._node.kube
        claim = await kube.get(PERSISTENT_VOLUME_CLAIMS, name, pod["metadata"]["namespace"])
        bound = claim["spec"].get("volumeName")
        if not bound or (claim.get("status") or {}).get("phase") != "Bound":
            raise LocalError(f"persistentvolumeclaim {name} is not bound")
        source = (await kube.get(PERSISTENT_VOLUMES, bound))["spec"]
        if source.get("hostPath"):
            return Path(volumes.host_path({"name": bound, **source}))
        if (source.get("csi") or {}).get("driver") != VOLUME_DRIVER or "/" in bound:
            raise LocalError(f"persistentvolume {bound} is of a kind that is not supported")
        folder: Path = self._node.paths.volumes / bound
        _make_folder(folder, group)
        return folder

    async def _write(self, volume: Object, pod: Object, group: int | None) -> None:
        getter = self._node.cluster.getter(pod["metadata"]["namespace"])
        content = volumes.render(volume, pod, getter, self._node.capacity)
        files = dict(content.files)
        for request in content.tokens:
            token = await self._token(pod, request)
            files[request.path] = File(token, request.mode)
        if self._written.get(volume["name"]) != files:
            volumes.write(self._folder / volume["name"], files, group)
            self._written[volume["name"]] = files

    async def _token(self, pod: Object, request: TokenRequest) -> bytes:
        key = (request.audience, request.path)
        held = self._tokens.get(key)
        if held is not None and held[1] > time.time():
            return held[0]
        meta = pod["metadata"]
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [request.audience] if request.audience else [],
                "expirationSeconds": request.expiration_s,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._node.kube.create_subresource(
            SERVICE_ACCOUNTS, account, "token", body, meta["namespace"]
        )
        token = answer["status"]["token"].encode()
        self._tokens[key] = (token, time.time() + _REFRESH_AT * request.expiration_s)
        return bytes(token)

    async def _renew(self, pod: Object) -> None:
        while True:
            due = min(at for _, at in self._tokens.values())
            await asyncio.sleep(max(_TOKEN_RETRY_S, due - time.time()))
            try:
                await self.refresh(pod)
            except (KubeError, LocalError, OSError):
                continue


def _make_folder(folder: Path, group: int | None) -> None:
    """Makes a volume that everybody may write to, for an fsGroup if there is one."""
    if folder.exists():
        return
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    if group is not None:
        volumes.to_group(folder, int(group))
        folder.chmod(0o2777)


def _in_memory(volume: Mapping[str, Any]) -> bool:
    return (volume.get("emptyDir") or {}).get("medium") == "Memory"
