"""What keeps a list or a watch from going on."""

from __future__ import annotations


class ApiError(Exception):
    """The text says it all to an operator. `kind` is the same for the same trouble, whatever the text's details."""

    def __init__(self, text: str, kind: str = "") -> None:
        super().__init__(text)
        self.kind = kind or text


class AccessError(ApiError):
    """Credentials or an address that can't be used; `option` is the Corefile's word for where they come from."""

    def __init__(self, text: str, option: str = "") -> None:
        super().__init__(text)
        self.option = option


class Lost(ApiError):  # noqa: N818 - a state more than an error
    """There was no reply, or it broke off, or it went silent."""


class Malformed(ApiError):  # noqa: N818 - as above
    """What came is no JSON of the API's, or too long to be kept."""


class Refused(ApiError):  # noqa: N818 - as above
    """A reply other than 200, or an ERROR event of a watch: the API's Status.

    `retry_after` in seconds, 0 where the server did not say.
    """

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{message or reason or 'no reason given'} ({code})", f"status {code}")
        self.code = code
        self.reason = reason
        self.retry_after = retry_after

    @property
    def gone(self) -> bool:
        """Tell whether a resourceVersion or a continue token is too old: only a new list helps."""
        return self.code == GONE or self.reason in {"Expired", "Gone"}


OK = 200
UNAUTHORIZED = 401
FORBIDDEN = 403
GONE = 410
# What servers say that have no streaming lists, or have them turned off.
NO_STREAMING = frozenset({400, 404, 405, 406, 415, 422, 501})
