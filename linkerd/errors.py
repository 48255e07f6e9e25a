"""Every error that crosses a layer, as one tree whose classes carry the decision.

    LinkerdError            exit_code, grpc_status, retryable; message, hint
    ├── SettingsError       flags or environment are wrong; all problems at once
    ├── UsageError          the command line is wrong
    ├── KubeError           the Kubernetes API refused or is out of reach
    │   ├── NotFound  Conflict  Invalid  Forbidden  Gone  Unavailable
    ├── WireError           a peer sent something that its protocol does not allow
    ├── PkiError            a key, certificate or CSR cannot be used
    ├── RenderError         a chart or a manifest cannot be rendered or read
    ├── MetricsError        Prometheus or the metrics API refused or is out of reach
    ├── LocalError          the embedded cluster cannot do what was asked
    └── CheckFailed         a check found the mesh not as it should be

Messages are lower-case, name the object and the offending value and end without a period.
A hint is one sentence that says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class LinkerdError(Exception):
    """Base of all errors that a user or a peer may see; never raised itself."""

    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[int] = 13
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class SettingsError(LinkerdError):
    """Flags or environment are wrong; the message lists every problem, one per line."""

    exit_code = 2


class UsageError(LinkerdError):
    """The command line is wrong."""

    exit_code = 2
    grpc_status = 3


class KubeError(LinkerdError):
    """The Kubernetes API refused a request or could not be reached.

    `status` is the HTTP status, 0 when there was no answer; `reason` is the API's
    machine-readable reason ("NotFound", "AlreadyExists", …), empty when there was none.
    """

    status: int = 0
    reason: str = ""

    def __init__(
        self, message: str, *, status: int = 0, reason: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


class NotFound(KubeError):
    """The object or the kind does not exist (404)."""

    grpc_status = 5


class Conflict(KubeError):
    """The object exists already or changed since it was read (409)."""

    grpc_status = 10
    retryable = True


class Invalid(KubeError):
    """The object was refused by validation or admission (400, 422)."""

    grpc_status = 3


class Forbidden(KubeError):
    """The caller is not known or may not do this (401, 403)."""

    grpc_status = 7


class Gone(KubeError):
    """The resource version is too old: list again (410)."""

    retryable = True


class Unavailable(KubeError):
    """The API server is out of reach or overloaded (429, 5xx, no connection)."""

    grpc_status = 14
    retryable = True


class WireError(LinkerdError):
    """A peer sent something that its protocol does not allow."""

    grpc_status = 3


class PkiError(LinkerdError):
    """A key, certificate or CSR cannot be used."""


class RenderError(LinkerdError):
    """A chart or a manifest cannot be rendered or read."""


class MetricsError(LinkerdError):
    """Prometheus or the metrics API refused a query or is out of reach."""

    grpc_status = 2


class LocalError(LinkerdError):
    """The embedded cluster cannot do what was asked."""


class CheckFailed(LinkerdError):
    """A check found the mesh not as it should be; details were printed already."""
