"""Create objects from files, or from flags: namespace, deployment and job (with --image),
configmap, secret generic and secret tls, serviceaccount.

Examples:
  linkerd local kubectl create ns emojivoto
  linkerd local kubectl create deployment web --image hashicorp/http-echo --port 8080
  linkerd local kubectl create secret tls linkerd-trust-anchor --cert ca.crt --key ca.key -n linkerd
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from linkerd.cli import _args
from linkerd.errors import UsageError

if TYPE_CHECKING:
    from linkerd.kube.client import KubeClient

SUMMARY = "Create objects from files or flags"
USAGE = "-f FILE | TYPE NAME"
_KINDS = {
    "ns": "namespace", "namespace": "namespace", "deploy": "deployment",
    "deployment": "deployment", "cm": "configmap", "configmap": "configmap",
    "sa": "serviceaccount", "serviceaccount": "serviceaccount",
    "secret": "secret", "job": "job",
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the flags."""
    from linkerd.cli.local._cluster import add_flags

    parser.add_argument("words", nargs="*", metavar="TYPE NAME", help="for instance ns emojivoto")
    parser.add_argument("-f", "--filename", action="append", default=[], metavar="FILE",
                        help="file, folder, - or https address")  # fmt: skip
    parser.add_argument("--image", default="", help="of a deployment's container")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="of a deployment")
    parser.add_argument("--port", type=int, metavar="PORT", help="that a deployment's pods serve")
    parser.add_argument("--from-literal", action="append", default=[], metavar="KEY=VALUE",
                        help="entry of a config map or secret; may be repeated")  # fmt: skip
    parser.add_argument("--from-file", action="append", default=[], metavar="[KEY=]FILE",
                        help="the same, with a file's content")  # fmt: skip
    parser.add_argument("--cert", default="", metavar="FILE", help="certificate of a TLS secret")
    parser.add_argument("--key", default="", metavar="FILE", help="its private key")
    parser.add_argument("--dry-run", choices=["none", "client"], default="none", metavar="HOW",
                        help="client: print what would be created")  # fmt: skip
    parser.add_argument("-o", "--output", choices=["yaml", "name"], default="name", metavar="FORMAT",
                        help="with --dry-run, one of: name, yaml")  # fmt: skip
    _args.add_namespace(parser, "namespace of objects that name none")
    add_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Creates them and prints their names."""
    from linkerd.cli import _connect, _manifests
    from linkerd.cli.local import _cluster, _objects

    bodies = [body for source in args.filename for body in _manifests.objects(source)]
    if args.words:
        bodies.append(manifest(args))
    if not bodies:
        raise UsageError("expected a type and a name, or -f FILE")
    if args.dry_run == "client":
        from linkerd.inject.manifest import render

        for body in bodies:
            name = f"{body['kind'].lower()}/{body['metadata']['name']} created (dry run)\n"
            print(render(body) if args.output == "yaml" else name, end="")
        return 0
    config = _cluster.config(args)
    namespace = args.namespace or config.namespace

    async def main(kube: KubeClient) -> int:
        for body in bodies:
            one = await _objects.of(kube, body, namespace)
            await kube.create(one.resource, body, one.namespace)
            print(f"{one} created", flush=True)
        return 0

    return _connect.run(config, main)


def manifest(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the object that type, name and flags describe.

    Raises:
        UsageError: the type is none of ours, or the name or image is missing.
    """
    kind = _KINDS.get(args.words[0])
    if kind is None:
        raise UsageError(
            f"cannot create a {args.words[0]} from flags", hint="write a file: -f FILE"
        )
    words = args.words[1:]
    form = words.pop(0) if kind == "secret" and words else ""
    if kind == "secret" and form not in ("generic", "tls"):
        raise UsageError("expected secret generic NAME or secret tls NAME")
    if len(words) != 1:
        raise UsageError(f"expected one name after {' '.join(filter(None, (kind, form)))}")
    name = words[0]
    metadata: dict[str, Any] = {"name": name}
    if kind in ("deployment", "job"):
        if not args.image:
            raise UsageError('required flag(s) "image" not set')
        return _deployment(args, name) if kind == "deployment" else _job(args, name)
    if kind == "secret":
        return _secret(args, form, metadata)
    if kind == "configmap":
        data = {key: _text(key, value) for key, value in _entries(args).items()}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    kinds = {"namespace": "Namespace", "serviceaccount": "ServiceAccount"}
    return {"apiVersion": "v1", "kind": kinds[kind], "metadata": metadata}


def _secret(args: argparse.Namespace, form: str, metadata: dict[str, Any]) -> dict[str, Any]:
    import base64

    if form == "tls" and not (args.cert and args.key):
        raise UsageError("key and cert must be specified")
    tls = {"tls.crt": args.cert, "tls.key": args.key}
    data = {key: _read(file) for key, file in tls.items()} if form == "tls" else _entries(args)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls" if form == "tls" else "Opaque",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def _entries(args: argparse.Namespace) -> dict[str, bytes]:
    """The entries that --from-literal and --from-file give."""
    import os

    found = {}
    for pair in args.from_literal:
        key, sign, value = pair.partition("=")
        if not sign or not key:
            raise UsageError(f"{pair}: expected KEY=VALUE")
        found[key] = value.encode()
    for word in args.from_file:
        key, sign, file = word.partition("=")
        found[key if sign else os.path.basename(word)] = _read(file if sign else word)
    return found


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as content:
            return content.read()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None


def _text(key: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise UsageError(f"{key} is no text", hint="a secret holds any bytes") from None


def _job(args: argparse.Namespace, name: str) -> dict[str, Any]:
    container: dict[str, Any] = {"name": name, "image": args.image}
    if args.rest:
        container["command"] = args.rest
    template = {"spec": {"containers": [container], "restartPolicy": "Never"}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": template},
    }


def _deployment(args: argparse.Namespace, name: str) -> dict[str, Any]:
    labels = {"app": name}
    plain = args.image.rpartition("/")[2].partition(":")[0]
    container: dict[str, Any] = {"name": plain, "image": args.image}
    if args.rest:
        container["command"] = args.rest
    if args.port:
        container["ports"] = [{"containerPort": args.port}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": args.replicas,
            "selector": {"matchLabels": labels},
            "template": template,
        },
    }
