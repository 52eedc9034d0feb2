"""Errors as the API server words them: Status objects (k8s.io/apimachinery, meta/v1)."""

from __future__ import annotations

from typing import Any

import msgspec

USER = "system:serviceaccount:kube-system:coredns"
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
LIST_EXPIRED = "The resourceVersion for the provided list is too old."
_NO_STREAMING = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
_MATCH_MISSING = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"


class StatusError(Exception):
    """A request that is answered with a Status; `retry_after` is in seconds."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata or {},
            "status": "Failure",
            "message": message,
            "reason": reason or REASONS.get(code, ""),
            **({} if details is None else {"details": details}),
            "code": code,
        }

    @property
    def body(self) -> bytes:
        """The JSON text, with the line feed that Go's encoder ends it with."""
        return msgspec.json.encode(self.status) + b"\n"


def error_event(error: StatusError) -> bytes:
    """Return the line with which a watch tells of an error."""
    return b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(error.status)


def too_old(version: int, oldest: int) -> StatusError:
    return StatusError(410, f"too old resource version: {version} ({oldest})")


def too_large(version: int, current: int) -> StatusError:
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    return StatusError(
        504,
        f"Timeout: Too large resource version: {version}, current: {current}",
        details={"causes": causes, "retryAfterSeconds": 1},
        retry_after=1,
    )


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized")


def forbidden(user: str, verb: str, group: str, plural: str, namespace: str) -> StatusError:
    scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    shown = f"{plural}.{group}" if group else plural
    return StatusError(
        403,
        f'{shown} is forbidden: User "{user}" cannot {verb} resource "{plural}" in API group "{group}" {scope}',
        details={**({"group": group} if group else {}), "kind": plural},
    )


def not_found(group: str, plural: str, name: str) -> StatusError:
    shown = f"{plural}.{group}" if group else plural
    details = {"name": name, **({"group": group} if group else {}), "kind": plural}
    return StatusError(404, f'{shown} "{name}" not found', details=details)


def no_such_resource() -> StatusError:
    return StatusError(404, "the server could not find the requested resource", details={})


def invalid_list_options(field: str, *, streaming: bool) -> StatusError:
    """Return what an API server says of list options that it does not take: `streaming` if it knows streaming lists."""
    message = f"Forbidden: {_MATCH_MISSING if streaming else _NO_STREAMING}"
    causes = [{"reason": "FieldValueForbidden", "message": message, "field": field}]
    return StatusError(
        422,
        f'ListOptions.meta.k8s.io "" is invalid: {field}: {message}',
        details={"group": "meta.k8s.io", "kind": "ListOptions", "causes": causes},
    )
