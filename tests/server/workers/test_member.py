"""What the supervisor makes of a worker's words."""

from __future__ import annotations

import asyncio

import pytest

from kubedns.plugin.contract import StartError, StartLaterError
from kubedns.server.workers.member import Member
from kubedns.server.workers.messages import Failed
from tests.listeners.running import run


@pytest.mark.parametrize(("later", "kind"), [(False, StartError), (True, StartLaterError)])
def test_a_start_that_may_succeed_later_is_one_here_too(kind: type[StartError], *, later: bool) -> None:
    async def told() -> None:
        member = Member(1, lambda _: None)
        member._take(Failed("no such host", later), [])  # noqa: SLF001 - as its channel does
        with pytest.raises(StartError, match="no such host") as raised:
            await asyncio.wait_for(member.ready, 1)
        assert type(raised.value) is kind
        member.channel.close()
        member.theirs.close()

    run(told())
