"""The identity controller's files: both forms, changed, broken. Not covered: who looks when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from linkerd.daemons.identity import IssuerFiles
from linkerd.errors import PkiError
from linkerd.pki import issue

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = issue.root("root.linkerd.cluster.local", now=NOW)
OTHER_ROOT = issue.root("root.linkerd.cluster.local", now=NOW)


def write(folder: Path, names: tuple[str, str], root: issue.Credential = ROOT) -> str:
    """Writes a fresh issuer and its anchor; returns the issuer's certificate."""
    made = issue.intermediate("identity.linkerd.cluster.local", root, now=NOW)
    for name, text in zip(names, (made.cert_pem, made.key_pem), strict=True):
        (folder / name).write_text(text)
    (folder / "ca-bundle.crt").write_text(root.cert_pem)
    return made.cert_pem


def held(files: IssuerFiles) -> str:
    assert files.issuer is not None
    return files.issuer.chain[0].public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("scheme", "names"),
    [
        ("linkerd.io/tls", ("crt.pem", "key.pem")),
        # As kubectl and cert-manager write Secrets.
        ("kubernetes.io/tls", ("tls.crt", "tls.key")),
    ],
)
def test_a_changed_issuer_is_taken(tmp_path: Path, scheme: str, names: tuple[str, str]) -> None:
    files = IssuerFiles(str(tmp_path), scheme, str(tmp_path / "ca-bundle.crt"))
    first = write(tmp_path, names)
    assert files.load(NOW)
    assert first == held(files)
    assert not files.load(NOW)
    second = write(tmp_path, names)
    assert files.load(NOW)
    assert second == held(files)


def test_anchors_may_change_with_their_issuer(tmp_path: Path) -> None:
    files = IssuerFiles(str(tmp_path), "kubernetes.io/tls", str(tmp_path / "ca-bundle.crt"))
    write(tmp_path, ("tls.crt", "tls.key"))
    files.load(NOW)
    other = write(tmp_path, ("tls.crt", "tls.key"), OTHER_ROOT)
    assert files.load(NOW)
    assert other == held(files)


@pytest.mark.parametrize("broken", ["tls.crt", "tls.key", "ca-bundle.crt"])
def test_a_broken_set_leaves_the_old_issuer_in_use(tmp_path: Path, broken: str) -> None:
    files = IssuerFiles(str(tmp_path), "kubernetes.io/tls", str(tmp_path / "ca-bundle.crt"))
    first = write(tmp_path, ("tls.crt", "tls.key"))
    files.load(NOW)
    write(tmp_path, ("tls.crt", "tls.key"))
    (tmp_path / broken).write_text("broken")
    with pytest.raises(PkiError):
        files.load(NOW)
    assert first == held(files)


def test_an_issuer_that_expired_signs_nothing(tmp_path: Path) -> None:
    files = IssuerFiles(str(tmp_path), "kubernetes.io/tls", str(tmp_path / "ca-bundle.crt"))
    write(tmp_path, ("tls.crt", "tls.key"))
    files.load(NOW)
    assert files.problem(NOW) is None
    assert "not valid anymore" in str(files.problem(NOW + timedelta(days=3660)))
