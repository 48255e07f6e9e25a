"""Runs checks for a command: connects, prints each answer as it comes, then those of extensions.

Source: linkerd2 cli/cmd/check.go (banners, order, exit code).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence

import linkerd
from linkerd.check import engine, render, viz
from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Outcome, Result
from linkerd.cli import _connect, _plugins
from linkerd.cli.viz import _probes
from linkerd.errors import LinkerdError
from linkerd.kube.client import KubeClient
from linkerd.kube.resources import NAMESPACES

Categories = Callable[[Mesh], Sequence[Category]]

_CLOCK = engine.Clock(time.monotonic, asyncio.sleep)
_EXTENSIONS_BANNER = "Linkerd extensions checks"
_BUILT_IN = ("viz",)


def run(
    args: argparse.Namespace, categories: Categories, *, banner: str, extensions: bool = False
) -> int:
    """Asks and prints; returns 1 when an answer is an error.

    Args:
        args: With `output`, `wait` and the global flags.
        categories: What to ask of the mesh.
        banner: Heading of the table.
        extensions: Go on with the checks of installed extensions.
    """
    printer = _Printer(args.output)
    try:
        config = _connect.config(args)
    except LinkerdError as error:
        question, hint = "can initialize the client", engine.HINT_ROOT + "k8s-api"
        text = "\n".join(filter(None, (error.message, error.hint)))
        printer.begin(banner)
        printer.answer(Result("kubernetes-api", question, Outcome.ERROR, text, hint))
        printer.end()
        printer.verdict()
        return 1

    async def main(kube: KubeClient) -> int:
        mesh = Mesh(
            kube,
            args.linkerd_namespace,
            args.namespace or "",
            getattr(args, "cli_version_override", "") or linkerd.VERSION,
            getattr(args, "expected_version", ""),
            args.cni_namespace,
        )
        ok = await _ask(printer, categories(mesh), banner, args.wait)
        if extensions and ok:
            ok = await _ask_extensions(printer, mesh, args)
        printer.verdict()
        return 0 if ok else 1

    return _connect.run(config, main)


async def _ask(
    printer: _Printer, categories: Sequence[Category], banner: str, wait_s: float
) -> bool:
    printer.begin(banner)
    answers = engine.run(categories, wait_s=wait_s, clock=_CLOCK, on_wait=printer.waiting)
    async for result in answers:
        printer.answer(result)
    return printer.end()


async def _ask_extensions(printer: _Printer, mesh: Mesh, args: argparse.Namespace) -> bool:
    """Asks programs on PATH, then the extension that this command brings."""
    label = "linkerd.io/extension"
    found = await mesh.kube.list(NAMESPACES, label_selector=label)
    labels = {body["metadata"]["labels"][label] for body in found}
    programs, absent = await _plugins.wanted(labels, _BUILT_IN)
    ok = True
    for program in programs:
        printer.begin(_EXTENSIONS_BANNER)
        printer.waiting(f"Running {program.removeprefix('linkerd-')} extension check")
        results = await _plugins.ask(program, args)
        printer.waiting("")
        for result in results:
            printer.answer(result)
        ok &= printer.end()
    if "viz" in labels:
        metrics = _probes.probes(mesh.kube, args)
        categories = viz.categories(mesh, metrics, with_data_plane=args.proxy)
        ok &= await _ask(printer, categories, _EXTENSIONS_BANNER, args.wait)
    if absent:
        printer.begin(_EXTENSIONS_BANNER)
        for result in absent:
            printer.answer(result)
        printer.end()
    return ok


class _Printer:
    """Writes answers to stdout in one of the formats; waits show on a terminal only."""

    def __init__(self, output: str) -> None:
        self._json = output == "json"
        self._terminal = sys.stdout.isatty() and not self._json
        self._short = output == "short"
        self._color = self._terminal and not os.environ.get("NO_COLOR")
        self._table = render.Table(color=self._color, short=self._short)
        self._results: list[Result] = []
        self._all: list[Result] = []
        self._waiting = False

    def begin(self, banner: str) -> None:
        """Starts a part under a heading."""
        self._results = []
        if self._json or self._short:
            return
        if self._all:
            print()
        print(f"{banner}\n{'=' * len(banner)}\n")
        self._table = render.Table(color=self._color)

    def answer(self, result: Result) -> None:
        """Writes one answer."""
        self._results.append(result)
        self._all.append(result)
        if not self._json:
            for line in self._table.lines(result):
                print(line, flush=True)

    def waiting(self, text: str) -> None:
        """Shows what is waited for on the last line, or clears it."""
        if self._terminal and (text or self._waiting):
            line = text.split("\n")[0][: shutil.get_terminal_size().columns - 3]
            print(f"\r\033[K{line} …" if text else "\r\033[K", end="", flush=True)
            self._waiting = bool(text)

    def end(self) -> bool:
        """Ends a part; returns whether it has no error."""
        if self._json:
            print(render.as_json(self._results))
        return engine.passed(self._results)

    def verdict(self) -> None:
        """Writes the verdict over all parts."""
        if not self._json:
            for line in self._table.end(self._all):
                print(line)
