"""One datagram to one reply, and the life of what does it."""
