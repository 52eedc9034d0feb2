"""What the processes of a server tell each other: the supervisor, the zygote, and the workers.

Open descriptors may travel beside a message: the channel of a Fork, the sockets of a Listen.
"""

from __future__ import annotations

import copyreg
import pickle  # between processes of one server, over sockets that nobody else has
from types import MappingProxyType
from typing import Any

import msgspec


def _proxy(held: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(held)


copyreg.pickle(MappingProxyType, lambda proxy: (_proxy, (dict(proxy),)))  # a server block's directives


class Message(msgspec.Struct, tag=True, array_like=True):
    """Anything that is told."""


# To the zygote.


class Begin(Message):
    """The first of all: a Launch, pickled."""

    launch: bytes


class Follow(Message):
    """A shared value is relayed from now on, under a number: `pickled` is its key, and its replica, empty."""

    number: int
    pickled: bytes


class Fork(Message):
    """Make a worker of that number; the descriptor beside this is its channel. Answered by Forked."""

    number: int


class Forked(Message):
    """From the zygote: the process of that worker."""

    number: int
    pid: int


# To the zygote and to workers.


class Take(Message):
    """For the replica of that number."""

    number: int
    told: bytes


class Forget(Message):
    """That shared value is relayed no more."""

    number: int


# To a worker, in this order: at its start, and again for each reload that it lives through.


class Listen(Message):
    """The sockets beside this, TCP and UDP, are those of an address, of which these are all fields."""

    address: tuple[str, str, int, bool]


class Configure(Message):
    """Set up and start what a Corefile, pickled, says; answered by Ready or Failed. `secret` is all workers'.

    What was served before goes on, if there was something, until this is decided on by Serve or Abandon.
    """

    corefile: bytes
    secret: bytes


class Ready(Message):
    """From a worker: it will answer queries as soon as it is told to."""


class Failed(Message):
    """It can't start: last words, if nothing was served before. `text` is for the operator; `later`: it may yet."""

    text: str
    later: bool = False


class Fatal(Message):
    """Last words: the whole server can't go on, and why has been logged. It is to end with that status."""

    status: int


class Serve(Message):
    """Answer queries from now on; answered by Serving."""


class Serving(Message):
    """From a worker: it does."""


# To a worker at any time; an answer has the number of its question.


class Question(Message):
    number: int


class Abandon(Question):
    """Give up what it was last told to set up, however far that is; answered by Done once it is given up."""


class Linger(Question):
    """Let the plugins linger: the process is about to end. Answered by Done."""


class Stop(Question):
    """End: with `drain` once queries in flight are answered. Answered by Samples, if it drains, then Done."""

    drain: bool


class Collect(Question):
    """Tell all metrics; answered by Samples, then Done."""


class Inspect(Question):
    """Tell which plugins are not ready; answered by Unready."""


class Answer(Message):
    number: int


class Done(Answer):
    """`failed` counts the plugins that failed at it."""

    failed: int = 0


class Unready(Answer):
    """Names of plugins."""

    names: list[str]


class Family(msgspec.Struct, array_like=True):
    """Samples of one family of metrics, or some of them: name, labels and value of each."""

    name: str
    kind: str
    text: str
    samples: list[tuple[str, dict[str, str], float]]


class Samples(Answer):
    """Some of a worker's metrics."""

    families: list[Family]


Told = (
    Begin | Follow | Fork | Forked | Take | Forget | Listen | Configure | Ready | Failed | Fatal | Serve | Serving
    | Abandon | Linger | Stop | Collect | Inspect | Done | Unready | Samples
)  # fmt: skip
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


def encode(message: Message) -> bytes:
    """Return a message's octets."""
    return _encoder.encode(message)


def decode(octets: bytes) -> Told:
    """Return the message of octets that encode() made."""
    return _decoder.decode(octets)


def pickled(value: Any) -> bytes:
    """Return a value of ours as octets."""
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpickled(octets: bytes) -> Any:
    """Return what pickled() was given."""
    return pickle.loads(octets)  # noqa: S301 - see the import
