"""What Linux offers to those who look after other processes, and Python has no function for (prctl(2), socket(7))."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
SO_ATTACH_REUSEPORT_CBPF, SO_DETACH_REUSEPORT_BPF = 51, 68
# Classic BPF (linux/filter.h): load a number, take it modulo, skip instructions unless it equals another, return one.
LOAD_ABSOLUTE, MODULO, IF_EQUAL, RETURN = 0x20, 0x94, 0x15, 0x06
RANDOM = 0xFFFFF000 + 56  # what is loaded: SKF_AD_OFF + SKF_AD_RANDOM
INSTRUCTION = struct.Struct("=HBBI")
PROGRAM = struct.Struct("@HP")  # instructions, where they are


def _prctl(option: int, value: ctypes.c_ulong | ctypes.c_char_p) -> None:
    ctypes.CDLL(None).prctl(option, value, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def take_name(name: str) -> None:
    """Be called so in lists of processes; 15 characters are shown."""
    _prctl(PR_SET_NAME, ctypes.c_char_p(name.encode("ascii")))


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


def adopt_descendants() -> None:
    """Have the kernel make this process the parent of all below it whose own parents end."""
    _prctl(PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))


def steer(sock: socket.socket, chosen: Sequence[int]) -> None:
    """Have the kernel give what is new to some of the sockets of this one's port: their places, as they were bound."""
    code = [(LOAD_ABSOLUTE, 0, 0, RANDOM), (MODULO, 0, 0, len(chosen))]
    for number, place in enumerate(chosen):
        code += [(IF_EQUAL, 0, 1, number), (RETURN, 0, 0, place)]
    code.append((RETURN, 0, 0, chosen[0]))
    program = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*one) for one in code))
    pointer = PROGRAM.pack(len(code), ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, pointer)


def steer_no_more(sock: socket.socket) -> None:
    """Let the kernel choose among all again."""
    with contextlib.suppress(OSError):  # it does
        sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, 0)
