"""PersistentVolumeClaim: a folder of this machine for every claim, kept until the cluster is deleted.

Any storage class is served; size and access modes are not enforced. A claim that names an existing
volume gets that one. A volume outlives its claim as Released; its data stays.
Source: kubernetes pkg/controller/volume/persistentvolume (names, phases).
"""

from __future__ import annotations

from linkerd.kube.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from linkerd.local.controllers.facts import Object, is_terminating
from linkerd.local.controllers.plan import Create, Merge, Plan
from linkerd.local.controllers.world import Key, World
from linkerd.local.paths import VOLUME_DRIVER


def plan(world: World, key: Key, now: float) -> Plan:
    """Returns the volume to make for a claim and what binds them."""
    result = Plan()
    claim = world.at(key)
    if claim is None or is_terminating(claim):
        return result
    name = claim["spec"].get("volumeName") or f"pvc-{claim['metadata']['uid']}"
    volume = world.get(PERSISTENT_VOLUMES, name)
    if volume is None:
        if (claim.get("status") or {}).get("phase") != "Bound":
            if not claim["spec"].get("volumeName"):
                result.actions.append(Create(PERSISTENT_VOLUMES, _volume(name, claim)))
            result.again(1.0)
        return result
    if not claim["spec"].get("volumeName"):
        patch = {"spec": {"volumeName": name}}
        result.actions.append(Merge(PERSISTENT_VOLUME_CLAIMS, claim, patch))
    if (claim.get("status") or {}).get("phase") != "Bound":
        status = {
            "phase": "Bound",
            "capacity": volume["spec"].get("capacity"),
            "accessModes": claim["spec"].get("accessModes"),
        }
        result.actions.append(
            Merge(PERSISTENT_VOLUME_CLAIMS, claim, {"status": status}, subresource="status")
        )
    if (volume.get("status") or {}).get("phase") != "Bound":
        bound = {"status": {"phase": "Bound"}}
        result.actions.append(Merge(PERSISTENT_VOLUMES, volume, bound, subresource="status"))
    return result


def release(world: World, key: Key, now: float) -> Plan:
    """Returns the new phase of a volume whose claim is gone."""
    result = Plan()
    volume = world.at(key)
    claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
    if volume is None or not claim.get("uid") or world.has_uid(claim["uid"]):
        return result
    if (volume.get("status") or {}).get("phase") == "Bound":
        released = {"status": {"phase": "Released"}}
        result.actions.append(Merge(PERSISTENT_VOLUMES, volume, released, subresource="status"))
    return result


def _volume(name: str, claim: Object) -> Object:
    meta, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi", **((spec.get("resources") or {}).get("requests") or {})},
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": spec.get("storageClassName") or "",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
            },
            "csi": {"driver": VOLUME_DRIVER, "volumeHandle": name},
        },
    }
