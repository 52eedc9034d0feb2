"""A query that waits for another server and is no coroutine: the callback that brings the reply tells the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubedns.server.chain import Step
    from kubedns.server.dispatch import Asked, Dispatcher
    from kubedns.wire.reply import Reply


class Underway:
    """The Later of a listener, and the Waiter of the plugin that asks. The stepper counts it as long as it waits."""

    __slots__ = ("_asked", "_dispatcher", "_done", "_octets", "_step", "_tell")

    def __init__(self, dispatcher: Dispatcher, asked: Asked, step: Step) -> None:
        self._dispatcher = dispatcher
        self._asked = asked
        self._step = step
        self._done = False
        self._octets: bytes | None = None
        self._tell: Callable[[Any], object] | None = None

    def done(self) -> bool:
        return self._done

    def set_result(self, reply: Reply) -> None:
        """Answer."""
        try:
            self._octets = self._dispatcher.answered(self._asked, self._step, reply)
        except Exception as error:  # noqa: BLE001 - an observer's; whoever brings a reply has others to bring
            self._dispatcher.panics.record(error)
        self._end()

    def set_exception(self, error: Exception) -> None:
        """Say that there is no answer."""
        try:
            self._octets = self._dispatcher.failed(self._asked, self._step, error)
        except Exception as another:  # noqa: BLE001 - as above
            self._dispatcher.panics.record(another)
        self._end()

    def result(self) -> bytes | None:
        return self._octets

    def cancel(self) -> bool:
        """Want to know no more."""
        if self._done:
            return False
        self._end()
        return True

    def add_done_callback(self, tell: Callable[[Any], object]) -> None:
        """Have one function called with this object, as soon as it is done."""
        self._tell = tell
        if self._done:
            tell(self)

    def _end(self) -> None:
        self._done = True
        if self._tell is not None:
            self._tell(self)
        self._dispatcher.stepper.left()
