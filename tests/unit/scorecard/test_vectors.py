"""The vectors that the proxy's tests read are those that the scorecard sends."""

from __future__ import annotations

from tests.scorecard import authorization, smuggling_variants


def test_the_smuggling_vectors_are_up_to_date() -> None:
    """`python -m tests.scorecard.smuggling_variants` writes them."""
    assert smuggling_variants.render() == smuggling_variants.VECTORS.read_text()


def test_the_authorization_vectors_are_up_to_date() -> None:
    """`python -m tests.scorecard.authorization` writes them."""
    assert authorization.render() == authorization.VECTORS.read_text()
