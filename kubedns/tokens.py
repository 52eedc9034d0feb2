"""What a ready answer holds on to, so as to know when what it was made from has changed."""


class Token:
    """Given out fresh, turned stale by the first change of what it stands for, and never fresh again."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        self.stale = False

    def __repr__(self) -> str:
        return f"Token(stale={self.stale})"


class Serial:
    """A number that changes now and then; `token` is stale once it has."""

    __slots__ = ("token", "value")

    def __init__(self) -> None:
        self.value = 0
        self.token = Token()

    def become(self, value: int) -> None:
        """Take a value; the one it has already changes nothing."""
        if value != self.value:
            self.value = value
            self.token.stale = True
            self.token = Token()
