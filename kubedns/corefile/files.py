"""Reading what `-conf` and `import` name: octets to text, globs to paths, failures in Go's words."""

from __future__ import annotations

import re
import stat
from pathlib import Path

MOST_OCTETS = 16 * 1024 * 1024  # of one file
SPECIAL = {"*": ".*", "?": "."}


def reason(error: OSError) -> str:
    """Return an operating system's error as Go prints it: `open /x: permission denied`."""
    text = (error.strerror or str(error)).lower()
    return text if isinstance(error, IsADirectoryError) or not error.filename else f"open {error.filename}: {text}"


def decode(octets: bytes) -> str:
    """Return a file's text; raises ValueError, which says why, when it is too long or not UTF-8."""
    if len(octets) > MOST_OCTETS:
        raise ValueError(f"more than {MOST_OCTETS} octets: is this a Corefile?")
    try:
        return octets.decode()
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not UTF-8 text (octet {octets[error.start]:#04x} in line {line})") from None


def read_regular(path: str) -> bytes:
    """Return a file's octets, at most one more than are allowed. Raises OSError; a pipe or a device is one."""
    mode = Path(path).stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(0, "is a directory", path)
    if not stat.S_ISREG(mode):
        raise OSError(0, "not a regular file", path)
    with Path(path).open("rb") as file:
        return file.read(MOST_OCTETS + 1)


def matches(pattern: str) -> list[str]:
    r"""Return the paths that match an absolute pattern (`*`, `?`, `\` before either), sorted in each folder.

    Unlike Python's glob, `*` matches a leading dot as well.
    """
    if not any(character in pattern for character in "*?\\"):
        return [pattern] if _exists(pattern) else []
    folder, _, last = pattern.rpartition("/")
    matcher = _matcher(last)
    found = []
    for each in matches(folder) if folder else ["/"]:
        try:
            names = sorted(path.name for path in Path(each).iterdir())
        except (OSError, ValueError):
            continue
        found += [f"{each.rstrip('/')}/{name}" for name in names if matcher.fullmatch(name)]
    return found


def _exists(path: str) -> bool:
    try:
        Path(path).lstat()
    except (OSError, ValueError):  # the latter for a NUL inside
        return False
    return True


def _matcher(pattern: str) -> re.Pattern[str]:
    """Return a path element's pattern (Go's path/filepath.Match) as a regular expression."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return re.compile("".join(SPECIAL.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)
