"""Checks of extensions that are programs of their own: `linkerd-NAME` on PATH.

    linkerd-NAME _extension-metadata  → {"name": "linkerd-NAME", "checks": "always"}
    linkerd-NAME check --output=json  → what `linkerd check -o json` prints

A program is asked when it says "always", or when a namespace has the label linkerd.io/extension=NAME.
Source: linkerd2 cli/cmd/check.go, pkg/healthcheck/healthcheck_output.go (protocol, texts).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from typing import Any

from linkerd.check.engine import HINT_ROOT, Outcome, Result

_METADATA_S = 5.0
_BEYOND_WAIT_S = 60.0
_SHOWN_MAX = 500
_NOT_PLUGINS = frozenset({"linkerd-proxy"})
_HINT = HINT_ROOT + "extensions"


async def wanted(labels: Iterable[str], built_in: Iterable[str]) -> tuple[list[str], list[Result]]:
    """Returns the programs to ask, and a warning for each extension that has none.

    Args:
        labels: Names of the extensions that namespaces are labelled with.
        built_in: Extensions that this command checks itself.
    """
    known = {f"linkerd-{name}" for name in built_in} | _NOT_PLUGINS
    found = [name for name in _on_path() if name not in known]
    answers = await asyncio.gather(*(_always(name) for name in found))
    programs = [name for name, always in zip(found, answers, strict=True) if always]
    absent = []
    for label in sorted(set(labels)):
        name = f"linkerd-{label}"
        if name in known or name in programs:
            continue
        if name in found:
            programs.append(name)
            continue
        question = f"Linkerd extension command {name} exists"
        why = f'exec: "{name}": executable file not found in $PATH'
        absent.append(Result(name, question, Outcome.WARNING, why, _HINT))
    return programs, absent


async def ask(program: str, args: argparse.Namespace) -> list[Result]:
    """Returns the answers of a program's checks; an error when it gives none."""
    words = ["check", *_forwarded(args), "--output=json"]
    code, out = await _run([program, *words], args.wait + _BEYOND_WAIT_S)
    try:
        return read(json.loads(out))
    except (ValueError, KeyError, TypeError) as error:
        command = " ".join([program, *words])
        shown = out.decode("utf-8", "replace")[:_SHOWN_MAX].strip() or f"nothing, exit code {code}"
        why = f'invalid extension check output from "{command}" (JSON object expected):\n{shown}\n[{error}]'
        return [Result(program, f"Running: {program} check", Outcome.ERROR, why, _HINT)]


def read(body: dict[str, Any]) -> list[Result]:
    """Returns the answers in the JSON of a `check`.

    Raises:
        KeyError, TypeError, ValueError: it is something else.
    """
    return [
        Result(
            str(category["categoryName"]),
            str(check["description"]),
            Outcome(check["result"]),
            str(check.get("error") or ""),
            str(check.get("hint") or ""),
        )
        for category in body["categories"] or ()
        for check in category["checks"] or ()
    ]


def _on_path() -> list[str]:
    names = set()
    for folder in os.get_exec_path():
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        names |= {name for name in entries if name.startswith("linkerd-")}
    return sorted(name for name in names if shutil.which(name))


async def _always(name: str) -> bool:
    _, out = await _run([name, "_extension-metadata"], _METADATA_S)
    try:
        body = json.loads(out)
    except ValueError:
        return False
    return isinstance(body, dict) and body.get("name") == name and body.get("checks") == "always"


async def _run(command: Sequence[str], timeout_s: float) -> tuple[int, bytes]:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, b""
    return process.returncode or 0, out


def _forwarded(args: argparse.Namespace) -> list[str]:
    values = {
        "api-addr": args.api_addr,
        "context": args.context,
        "as": args.impersonate,
        "kubeconfig": args.kubeconfig,
        "linkerd-namespace": args.linkerd_namespace,
        "namespace": args.namespace,
        "wait": f"{args.wait:g}s",
    }
    words = [f"--{name}={value}" for name, value in values.items() if value]
    words += [f"--as-group={group}" for group in args.impersonate_groups]
    return words + [f"--{name}" for name in ("verbose", "proxy") if getattr(args, name, False)]
