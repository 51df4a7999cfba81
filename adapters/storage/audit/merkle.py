"""The chain and the tree over the records of a log, kept as little more than one hash each. Pure.

Two structures over the same bytes, for two questions. The chain, hash = SHA-256(hash before + record), says where a
log was touched. The tree of RFC 6962, section 2.1, gives one root for any size, so that a signature over 32 bytes holds
every record before it, and somebody who has only the root can be shown that one record belongs to it.
"""

import hashlib
from collections.abc import Iterable

_EMPTY = hashlib.sha256()
_LEAF = hashlib.sha256(b"\x00")
_NODE = hashlib.sha256(b"\x01")
# Copying a digest that has begun costs half of constructing one, and this runs four times a record.


def genesis(origin: str) -> bytes:
    """The hash before the first record: two logs with the same records still have different chains."""
    return hashlib.sha256(b"drawbridge audit 1\n" + origin.encode()).digest()


class Chain:
    """Both structures at one size. The frontier holds the roots of the full subtrees, largest first."""

    __slots__ = ("_frontier", "head", "size")

    def __init__(self, *, head: bytes, size: int = 0, frontier: Iterable[bytes] = ()) -> None:
        self.head = head
        self.size = size
        self._frontier = list(frontier)
        if len(self._frontier) != size.bit_count():
            raise ValueError("a frontier has one hash for each bit of the size that is set")

    def append(self, line: bytes) -> bytes:
        """The hash of the record that comes next; it is the new head."""
        node = _LEAF.copy()
        node.update(line)
        hashed = node.digest()
        frontier = self._frontier
        size = self.size
        while size & 1:
            node = _NODE.copy()
            node.update(frontier.pop())
            node.update(hashed)
            hashed = node.digest()
            size >>= 1
        frontier.append(hashed)
        self.size += 1
        linked = _EMPTY.copy()
        linked.update(self.head)
        linked.update(line)
        self.head = head = linked.digest()
        return head

    def root(self) -> bytes:
        """The root of the tree over every record so far."""
        if not self._frontier:
            return _EMPTY.digest()
        *larger, root = self._frontier
        for each in reversed(larger):
            node = _NODE.copy()
            node.update(each)
            node.update(root)
            root = node.digest()
        return root

    @property
    def frontier(self) -> tuple[bytes, ...]:
        return tuple(self._frontier)
