"""Checks of versions: the CLI's and the control plane's.

Nobody is asked over the internet what the latest version is: those questions are put only when
`--expected-version` says what to compare with.
Source: linkerd2 pkg/healthcheck/healthcheck.go, pkg/version (questions, texts).
"""

from __future__ import annotations

from linkerd.check.cluster import Mesh
from linkerd.check.engine import Category, Check, Skip
from linkerd.errors import CheckFailed


def client(mesh: Mesh) -> Category:
    """Category linkerd-version."""

    async def latest() -> str:
        require_asked(mesh.expected_version)
        return f"{mesh.expected_version}, as --expected-version says"

    async def current() -> None:
        require_current(mesh.version, mesh.expected_version)

    return Category(
        "linkerd-version",
        (
            Check("can determine the latest version", "l5d-version-latest", latest, warning=True),
            Check("cli is up-to-date", "l5d-version-cli", current, warning=True),
        ),
    )


def control_plane(mesh: Mesh) -> Category:
    """Category control-plane-version."""

    async def known() -> None:
        await _server_version(mesh)

    async def current() -> None:
        require_current(await _server_version(mesh), mesh.expected_version)

    async def same() -> None:
        server = await _server_version(mesh)
        if server != mesh.version:
            raise CheckFailed(f"control plane running {server} but cli running {mesh.version}")

    anchor = "l5d-version-control"
    return Category(
        "control-plane-version",
        (
            Check("can retrieve the control plane version", anchor, known, fatal=True, retry=True),
            Check("control plane is up-to-date", anchor, current, warning=True),
            Check("control plane and cli versions match", anchor, same, warning=True),
        ),
    )


def require_current(version: str, expected: str) -> None:
    """Raises CheckFailed unless `version` is `expected`; Skip when nothing is expected."""
    require_asked(expected)
    if version == expected:
        return
    channel, _, running = version.rpartition("-")
    wanted_channel, _, latest = expected.rpartition("-")
    if channel != wanted_channel:
        raise CheckFailed(f"mismatched channels: running {version} but retrieved {expected}")
    latest_of = f"{channel} version" if channel else "version"
    raise CheckFailed(f"is running version {running} but the latest {latest_of} is {latest}")


async def _server_version(mesh: Mesh) -> str:
    version = str((await mesh.config()).get("linkerdVersion") or "")
    if not version:
        raise CheckFailed("linkerd-config names no linkerdVersion")
    return version


def require_asked(expected: str) -> None:
    """Raises Skip when nobody said which version is the latest."""
    if not expected:
        raise Skip
