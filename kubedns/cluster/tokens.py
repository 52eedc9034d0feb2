"""What a ready answer holds on to, so as to know when what it was made from has changed."""


class Token:
    """Given out fresh, turned stale by the first change of what it stands for, and never fresh again."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        self.stale = False

    def __repr__(self) -> str:
        return f"Token(stale={self.stale})"
