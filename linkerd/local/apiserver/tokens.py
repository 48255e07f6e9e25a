"""Service-account tokens: JWTs signed with ES256, bound to an audience and often to a pod.

Pure: takes the key and the time, knows neither store nor network.
Source: RFC 7519, RFC 7515; Kubernetes pkg/serviceaccount/claims.go (claims).
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

ISSUER = "https://kubernetes.default.svc.cluster.local"
#: The audience of tokens for the API itself.
API_AUDIENCE = ISSUER
#: Accepted as audiences of the API server.
API_AUDIENCES = (ISSUER, "https://kubernetes.default.svc", "api")

_COORDINATE_BYTES = 32
_SKEW_S = 5


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says.

    `bound_kind` is Pod, Secret, Node or "" and `bound_name`, `bound_uid` name that object; the
    token dies with it. Times are seconds since the epoch.
    """

    namespace: str
    account: str
    account_uid: str
    audiences: tuple[str, ...]
    expires: int
    bound_kind: str = ""
    bound_name: str = ""
    bound_uid: str = ""
    token_id: str = ""
    node: str = ""

    @property
    def subject(self) -> str:
        """The user name that the token stands for."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"


class Signer:
    """Issues and reads tokens with one key."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = _encode(hashlib.sha256(der).digest())

    def issue(self, claims: Claims, now: int) -> str:
        """Returns the signed token.

        Args:
            claims: What it says; `token_id` is made when empty.
            now: Seconds since the epoch.
        """
        private: dict[str, Any] = {
            "namespace": claims.namespace,
            "serviceaccount": {"name": claims.account, "uid": claims.account_uid},
        }
        if claims.bound_kind:
            private[claims.bound_kind.lower()] = {
                "name": claims.bound_name,
                "uid": claims.bound_uid,
            }
        if claims.node and claims.bound_kind != "Node":
            private["node"] = {"name": claims.node}
        payload = {
            "aud": list(claims.audiences),
            "exp": claims.expires,
            "iat": now,
            "iss": ISSUER,
            "jti": claims.token_id or str(uuid.uuid4()),
            "kubernetes.io": private,
            "nbf": now,
            "sub": claims.subject,
        }
        header = {"alg": "ES256", "kid": self.key_id}
        signed = f"{_json(header)}.{_json(payload)}"
        der = self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"{signed}.{_encode(signature)}"

    def read(self, token: str, now: float) -> Claims | None:
        """Returns what a token says; None unless it is ours, unaltered and valid at `now`."""
        try:
            signed, _, signature_text = token.rpartition(".")
            header_text, _, payload_text = signed.partition(".")
            header = json.loads(_decode(header_text))
            if header.get("alg") != "ES256":
                return None
            signature = _decode(signature_text)
            if len(signature) != 2 * _COORDINATE_BYTES:
                return None
            r = int.from_bytes(signature[:_COORDINATE_BYTES], "big")
            s = int.from_bytes(signature[_COORDINATE_BYTES:], "big")
            self._public.verify(
                encode_dss_signature(r, s), signed.encode(), ec.ECDSA(hashes.SHA256())
            )
            return _claims(json.loads(_decode(payload_text)), now)
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
            return None

    def key_set(self) -> dict[str, Any]:
        """Returns the JSON Web Key Set that verifies the tokens."""
        numbers = self._public.public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": _encode(numbers.x.to_bytes(_COORDINATE_BYTES, "big")),
                    "y": _encode(numbers.y.to_bytes(_COORDINATE_BYTES, "big")),
                }
            ]
        }


def _claims(payload: dict[str, Any], now: float) -> Claims | None:
    if payload["iss"] != ISSUER or payload["exp"] <= now or payload["nbf"] > now + _SKEW_S:
        return None
    private = payload["kubernetes.io"]
    account = private["serviceaccount"]
    bound = next((kind for kind in ("pod", "secret") if kind in private), "")
    if not bound and "node" in private and "uid" in private["node"]:
        bound = "node"
    return Claims(
        namespace=private["namespace"],
        account=account["name"],
        account_uid=account["uid"],
        audiences=tuple(payload["aud"]),
        expires=payload["exp"],
        bound_kind=bound.capitalize(),
        bound_name=private[bound]["name"] if bound else "",
        bound_uid=private[bound]["uid"] if bound else "",
        token_id=payload.get("jti", ""),
        node=(private.get("node") or {}).get("name", ""),
    )


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _json(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":")).encode())
