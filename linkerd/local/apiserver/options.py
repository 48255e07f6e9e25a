"""Options of writing requests in the query, checked as Kubernetes does before it looks at bodies.

Source: Kubernetes apimachinery pkg/apis/meta/v1/validation (ValidateCreateOptions and its like).
"""

from __future__ import annotations

from typing import Any

from linkerd.local.apiserver.http import Request
from linkerd.local.apiserver.status import invalid, required, unsupported
from linkerd.local.store import Obj

_DRY_RUNS = ["All"]
_VALIDATIONS = ["Ignore", "Strict", "Warn"]
_PROPAGATIONS = ["Background", "Foreground", "Orphan"]
_KINDS = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}


def check(request: Request, verb: str) -> None:
    """Refuses words that no option has.

    Raises:
        ApiError: 422, it names them all.
    """
    found: list[Obj] = []
    given = request.query.get("dryRun", [])
    if any(one and one not in _DRY_RUNS for one in given):
        found.append(unsupported("dryRun", given, _DRY_RUNS))
    found += _one_of("fieldValidation", request.first("fieldValidation"), _VALIDATIONS)
    is_apply = request.headers.get("content-type", "").startswith("application/apply-patch")
    if verb == "patch" and is_apply and not request.first("fieldManager"):
        found.append(required("fieldManager", "is required for apply patch"))
    _refuse(_KINDS[verb], found)


def check_deletion(options: Obj) -> None:
    """Refuses DeleteOptions with words that do not exist.

    Raises:
        ApiError: 422.
    """
    given = options.get("propagationPolicy")
    _refuse("DeleteOptions", _one_of("propagationPolicy", given, _PROPAGATIONS))


def _one_of(name: str, given: Any, allowed: list[str]) -> list[Obj]:
    return [unsupported(name, given, allowed)] if given and given not in allowed else []


def _refuse(kind: str, found: list[Obj]) -> None:
    if found:
        raise invalid(kind, "meta.k8s.io", "", found)
