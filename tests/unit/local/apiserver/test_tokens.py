"""Service-account tokens: what they say, and what makes them invalid."""

from __future__ import annotations

import base64
import dataclasses
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from linkerd.local.apiserver.tokens import Claims, Signer

NOW = 1_800_000_000
CLAIMS = Claims(
    namespace="emojivoto",
    account="web",
    account_uid="u1",
    audiences=("identity.l5d.io",),
    expires=NOW + 3600,
    bound_kind="Pod",
    bound_name="web-1",
    bound_uid="u2",
    token_id="t1",
    node="local",
)


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()))


def test_a_token_says_what_was_signed(signer: Signer) -> None:
    assert CLAIMS == signer.read(signer.issue(CLAIMS, NOW), NOW)
    assert "system:serviceaccount:emojivoto:web" == CLAIMS.subject


def test_a_token_expires(signer: Signer) -> None:
    token = signer.issue(CLAIMS, NOW)
    assert signer.read(token, NOW + 3599) is not None
    assert signer.read(token, NOW + 3600) is None


def test_a_token_is_not_valid_before_its_time(signer: Signer) -> None:
    assert signer.read(signer.issue(CLAIMS, NOW), NOW - 60) is None


def test_a_token_of_another_key_is_refused(signer: Signer) -> None:
    other = Signer(ec.generate_private_key(ec.SECP256R1()))
    assert signer.read(other.issue(CLAIMS, NOW), NOW) is None


def test_an_altered_token_is_refused(signer: Signer) -> None:
    head, payload, signature = signer.issue(CLAIMS, NOW).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["sub"] = "system:serviceaccount:kube-system:admin"
    altered = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    assert signer.read(f"{head}.{altered}.{signature}", NOW) is None


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256"])
def test_other_algorithms_are_refused(signer: Signer, algorithm: str) -> None:
    _, payload, signature = signer.issue(CLAIMS, NOW).split(".")
    head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).rstrip(b"=").decode()
    assert signer.read(f"{head}.{payload}.{signature}", NOW) is None


@pytest.mark.parametrize("text", ["", "a", "a.b", "a.b.c", "....", "é.é.é", "e30.e30.e30"])
def test_nonsense_is_no_token(signer: Signer, text: str) -> None:
    assert signer.read(text, NOW) is None


def test_unbound_tokens_have_no_object(signer: Signer) -> None:
    plain = dataclasses.replace(CLAIMS, bound_kind="", bound_name="", bound_uid="", node="")
    assert plain == signer.read(signer.issue(plain, NOW), NOW)


def test_the_key_set_names_the_key_of_the_tokens(signer: Signer) -> None:
    head = json.loads(base64.urlsafe_b64decode(signer.issue(CLAIMS, NOW).split(".")[0] + "=="))
    assert [head["kid"]] == [key["kid"] for key in signer.key_set()["keys"]]
