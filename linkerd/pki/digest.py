"""The name of a trust bundle by its contents; apart, so that it costs no certificate code."""

from __future__ import annotations

import hashlib


def bundle_sha256(pem: str) -> str:
    """Returns the hex SHA-256 of a bundle's text, the value of `linkerd.io/trust-root-sha256`.

    White space around the text does not count.
    """
    return hashlib.sha256(pem.strip().encode()).hexdigest()
