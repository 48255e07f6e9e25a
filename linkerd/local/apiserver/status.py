"""The API's way to say no: `Status` objects, and the exception that carries one.

Source: Kubernetes apimachinery/pkg/api/errors/errors.go (reasons, codes and texts).
"""

from __future__ import annotations

from typing import Any

from linkerd.local.store import Obj


class ApiError(Exception):
    """A request was refused; `status` is the HTTP code and `body()` the answer.

    Raised wherever a request is found wanting and turned into an answer in one place, `app`.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.details = details or {}
        self.headers = headers or {}

    def body(self) -> Obj:
        """Returns the `Status` object that the client gets."""
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            status["details"] = self.details
        status["code"] = self.status
        return status


def success(details: dict[str, Any] | None = None) -> Obj:
    """Returns the `Status` of something that worked and has no other answer."""
    status: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        status["details"] = details
    return status


def bad_request(message: str) -> ApiError:
    """The request cannot be understood (400)."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """The token is missing, wrong or expired (401)."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, name: str, why: str) -> ApiError:
    """The caller may not do this, or admission refused it (403)."""
    return ApiError(
        403,
        "Forbidden",
        f'{resource} "{name}" is forbidden: {why}' if resource else f"forbidden: {why}",
        details=_details(resource, name),
    )


def not_found(resource: str, name: str) -> ApiError:
    """There is no object of this name (404)."""
    return ApiError(
        404, "NotFound", f'{resource} "{name}" not found', details=_details(resource, name)
    )


def no_such_path() -> ApiError:
    """There is no such resource or path (404)."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed(verb: str, resource: str) -> ApiError:
    """The resource does not support the verb (405)."""
    return ApiError(
        405,
        "MethodNotAllowed",
        f"{verb} is not supported on resources of kind {resource!r}",
    )


def already_exists(resource: str, name: str) -> ApiError:
    """There is an object of this name already (409)."""
    return ApiError(
        409,
        "AlreadyExists",
        f'{resource} "{name}" already exists',
        details=_details(resource, name),
    )


def conflict(resource: str, name: str, why: str = "") -> ApiError:
    """The object changed since the caller read it (409)."""
    text = why or (
        "the object has been modified; please apply your changes to the latest version "
        "and try again"
    )
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": {text}',
        details=_details(resource, name),
    )


def gone(message: str) -> ApiError:
    """The wanted version is no longer kept (410)."""
    return ApiError(410, "Expired", message)


def unsupported_media_type(content_type: str, allowed: str) -> ApiError:
    """The body is in a format that this request does not take (415)."""
    return ApiError(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format {content_type!r} - accepted media "
        f"types include: {allowed}",
    )


def invalid(kind: str, group: str, name: str, causes: list[Obj]) -> ApiError:
    """The object breaks rules of its kind (422); `causes` as made by `cause`."""
    texts = [f"{c['field']}: {c['message']}" for c in causes]
    said = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    qualified = f"{kind}.{group}" if group else kind
    details = {"name": name, "group": group, "kind": kind, "causes": causes}
    return ApiError(
        422,
        "Invalid",
        f'{qualified} "{name}" is invalid: {said}',
        details={key: value for key, value in details.items() if value},
    )


def cause(reason: str, field: str, message: str) -> Obj:
    """Returns one finding of `invalid`, for instance `FieldValueRequired` at `spec.ports`."""
    return {"reason": reason, "message": message, "field": field}


def required(field: str, detail: str = "") -> Obj:
    """A field that must be set is not."""
    text = "Required value" + (f": {detail}" if detail else "")
    return cause("FieldValueRequired", field, text)


def bad_value(field: str, value: Any, detail: str) -> Obj:
    """A field has a value that breaks a rule."""
    return cause("FieldValueInvalid", field, f"Invalid value: {_shown(value)}: {detail}")


def unsupported(field: str, value: Any, allowed: list[str]) -> Obj:
    """A field has a value that is none of the allowed ones."""
    names = ", ".join(f'"{name}"' for name in allowed)
    return cause(
        "FieldValueNotSupported",
        field,
        f"Unsupported value: {_shown(value)}: supported values: {names}",
    )


def unavailable(message: str) -> ApiError:
    """A part of the cluster that the request needs is away (503)."""
    return ApiError(503, "ServiceUnavailable", message)


def internal(message: str) -> ApiError:
    """The server or something that it called failed (500)."""
    return ApiError(500, "InternalError", f"Internal error occurred: {message}")


def _details(resource: str, name: str) -> dict[str, Any]:
    plural, _, group = resource.partition(".")
    details = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in details.items() if value}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
