"""What a forwarded query costs in instructions of bytecode, the plugin and what it asks by alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubedns import upstream as package
from plugins import forward
from tests.fakes.upstream import Upstream, answering
from tests.plugins.forward.forwarding import forwarding, gather, nobody, run
from tests.plugins.helpers import query

if TYPE_CHECKING:
    from types import FrameType

OURS = tuple(str(Path(str(module.__file__)).parent) for module in (package, forward))
AT_A_TIME = 64  # as a listener reads them
MOST = 660  # for each query; a tenth more than it takes


class Count:
    """Counts instructions in the two packages."""

    def __init__(self) -> None:
        self.instructions = 0

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.instructions += event == "opcode"
        return self.trace


def test_instructions_for_a_query() -> None:
    async def work() -> int:
        upstream = Upstream(answering())
        async with upstream.serving(), forwarding(f"forward . {upstream.address}") as plugin:

            async def ask(number: int) -> None:
                await gather(*(plugin.resolve(query(f"n{number}-{each}.test."), nobody) for each in range(AT_A_TIME)))

            for number in range(8):  # all sockets are open
                await ask(number)
            count, before = Count(), sys.gettrace()
            sys.settrace(count.trace)
            try:
                await ask(9)
            finally:
                sys.settrace(before)
            assert len(upstream.asked) == 9 * AT_A_TIME
            return count.instructions // AT_A_TIME

    assert 300 < run(work()) < MOST
