"""The whole message as dnslib sees it, for plugins and tools that want it; made only when asked for.

The only import of dnslib: reading and writing a message with it costs twenty times what answering a query does.
"""

from dnslib import DNSError, DNSRecord

from kubedns.wire.errors import WireError
from kubedns.wire.parse import parse_reply
from kubedns.wire.query import Query
from kubedns.wire.reply import Reply


def message(octets: bytes) -> DNSRecord:
    """Return a message's dnslib form; raise WireError where dnslib can't read it."""
    try:
        return DNSRecord.parse(octets)
    except (DNSError, ValueError, IndexError) as error:
        raise WireError(str(error)) from error


def query_message(query: Query) -> DNSRecord:
    """Return a query (header and question) as a dnslib message, from which `.reply()` makes an answer."""
    counts = b"\0\1\0\0\0\0\0\0"
    return message(query.id + query.flags.to_bytes(2, "big") + counts + query.question)


def reply_of(record: DNSRecord) -> Reply:
    """Return the Reply that says what a dnslib message says."""
    return parse_reply(bytes(record.pack()))
