"""kubectl for the local cluster: the installed one, or the verbs below where there is none."""

from __future__ import annotations

import os
import shutil

SUMMARY = "Run kubectl on the local cluster; a small one of our own where none is installed"
HINT = "this is a small kubectl of our own; install kubectl and this command runs it"


def prefer_installed(words: list[str]) -> None:
    """Becomes the kubectl on PATH, with the cluster's kubeconfig; returns if either is missing.

    Args:
        words: The whole command line. What stands before `kubectl` may be `--cluster NAME`;
            what follows is kubectl's.

    Raises:
        UsageError: the cluster's name is not valid.
    """
    program = shutil.which("kubectl")
    at = words.index("kubectl")
    if program is None or os.environ.get("LINKERD_LOCAL_KUBECTL") == "own":
        return
    import argparse

    from linkerd.cli.local import _cluster

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _cluster.add_flags(parser)
    args, before = parser.parse_known_args(words[:at])
    file = _cluster.paths(args).kubeconfig
    if not file.exists():
        return
    left = [word for word in before if word != "local"]
    environment = {**os.environ, "KUBECONFIG": str(file)}
    os.execve(program, ["kubectl", *left, *words[at + 1 :]], environment)
