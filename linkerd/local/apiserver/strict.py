"""Field validation: what a body holds that its kind does not know is refused, warned of, dropped.

Source: Kubernetes API concepts (field validation: Strict, Warn, Ignore).
"""

from __future__ import annotations

from linkerd.local.apiserver import schema
from linkerd.local.apiserver.kinds import Kind
from linkerd.local.apiserver.resources import Context
from linkerd.local.apiserver.status import bad_request
from linkerd.local.store import Obj


def check(kind: Kind, obj: Obj, context: Context, body: bytes) -> None:
    """Acts on unknown fields as the client asked.

    Raises:
        ApiError: 400 with `fieldValidation=Strict`.
    """
    if context.validation == "Ignore" or kind.crd is None:
        return
    found = [f'unknown field "{path}"' for path in schema.unknown_fields(kind, obj)]
    if not found:
        return
    if context.validation == "Strict":
        raise bad_request(
            f"{kind.kind} in version {kind.version!r} cannot be handled as a {kind.kind}: "
            f"strict decoding error: {', '.join(found)}"
        )
    for text in found:
        context.warn(text)
