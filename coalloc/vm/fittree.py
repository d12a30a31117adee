"""`FitTree`: lengths ordered by address, each subtree knowing its largest length, so that first fit is one descent.

A treap whose priorities are hashed from the keys: its shape depends on the set of keys alone, not on the order in which
they came, so that counted visits can be compared between runs.  The kernel's tree was a splay tree with the same stored
maximum (``max_free``); its shape depends on the history.  Both visit O(log n) nodes (the splay tree: amortised).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

__all__ = ["FitTree", "Node"]

_MASK: Final = 2**64 - 1


def _priority(key: int) -> int:
    """Mix the key's bits (the finaliser of splitmix64), so that regular keys give a balanced tree."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & _MASK
    return key ^ (key >> 31)


@attrs.define(eq=False)
class Node:
    """One length at one address, and what its subtree holds."""

    key: int
    length: int
    priority: int
    largest: int
    count: int = 1
    left: Node | None = None
    right: Node | None = None
    parent: Node | None = None

    def refresh(self) -> None:
        """Recompute ``largest`` and ``count`` from the children."""
        largest, count, left, right = self.length, 1, self.left, self.right
        if left is not None:
            count += left.count
            if left.largest > largest:
                largest = left.largest
        if right is not None:
            count += right.count
            if right.largest > largest:
                largest = right.largest
        self.largest, self.count = largest, count


class FitTree:
    """Map addresses to lengths; find the lowest address whose length suffices.

    Complexity: every method O(log n) expected, ``largest`` and ``len`` O(1).

    >>> tree = FitTree()
    >>> for address, length in [(0, 8), (100, 40), (200, 16)]:
    ...     tree.insert(address, length)
    >>> tree.first_fit(16), tree.first_fit(16, start=101), tree.largest
    (100, 200, 40)
    >>> tree.first_fit(41) is None
    True
    """

    __slots__ = ("_nodes", "_root", "visits")

    def __init__(self) -> None:
        self._nodes: dict[int, Node] = {}
        self._root: Node | None = None
        self.visits = 0
        """Nodes visited by ``first_fit`` so far."""

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[int]:
        """Yield the addresses in ascending order."""
        return iter(sorted(self._nodes))

    def __getitem__(self, key: int) -> int:
        return self._nodes[key].length

    @property
    def largest(self) -> int:
        """The largest length, 0 in an empty tree."""
        return self._root.largest if self._root is not None else 0

    # --- search ------------------------------------------------------------------------------------

    def first_fit(self, length: int, start: int | None = None) -> int | None:
        """Return the lowest address (not below ``start``) whose length is at least ``length`` (> 0), or None.

        Complexity: O(log n) nodes, counted in ``visits``; a failure without ``start`` looks at the root alone.
        """
        node = self._root
        if node is None:
            return None
        if start is None:
            visits = 1
            if node.largest < length:
                self.visits += visits
                return None
            while True:
                left = node.left
                if left is not None and left.largest >= length:
                    node = left
                elif node.length >= length:
                    self.visits += visits
                    return node.key
                else:
                    assert node.right is not None  # the subtree holds a fit, and it is neither here nor on the left
                    node = node.right
                visits += 1
        return self._first_fit_from(node, length, start)

    def _first_fit_from(self, node: Node, length: int, start: int) -> int | None:
        """Find the first fit at or above ``start``: descend to ``start``, then climb until a subtree holds a fit."""
        path: list[Node] = []
        at: Node | None = node
        while at is not None:
            self.visits += 1
            if at.key < start:
                at = at.right
            else:
                path.append(at)
                at = at.left
        for at in reversed(path):  # ascending keys, all >= start; each right subtree lies between it and the next
            if at.length >= length:
                return at.key
            if at.right is not None and at.right.largest >= length:
                return self._lowest_in(at.right, length)
        return None

    def _lowest_in(self, node: Node, length: int) -> int:
        while True:
            self.visits += 1
            if node.left is not None and node.left.largest >= length:
                node = node.left
            elif node.length >= length:
                return node.key
            else:
                assert node.right is not None  # as in first_fit
                node = node.right

    def floor(self, key: int) -> int | None:
        """Return the highest address that is at most ``key``, or None."""
        node, best = self._root, None
        while node is not None:
            if node.key <= key:
                best, node = node.key, node.right
            else:
                node = node.left
        return best

    def rank(self, key: int) -> int:
        """Return how many addresses lie below ``key``, which must be in the tree."""
        node = self._nodes[key]
        rank = node.left.count if node.left is not None else 0
        while node.parent is not None:
            if node is node.parent.right:
                rank += node.parent.count - node.count
            node = node.parent
        return rank

    # --- change ------------------------------------------------------------------------------------

    def insert(self, key: int, length: int) -> None:
        """Add an address that is not in the tree yet."""
        node = Node(key, length, _priority(key), length)
        self._nodes[key] = node
        at = self._root
        if at is None:
            self._root = node
            return
        while True:
            at.count += 1
            if length > at.largest:
                at.largest = length
            child = at.left if key < at.key else at.right
            if child is None:
                break
            at = child
        node.parent = at
        if key < at.key:
            at.left = node
        else:
            at.right = node
        above: Node | None = at
        while above is not None and node.priority > above.priority:
            self._rotate_up(node)
            above = node.parent

    def remove(self, key: int) -> None:
        """Take an address out of the tree."""
        node = self._nodes.pop(key)
        while node.left is not None and node.right is not None:
            self._rotate_up(node.left if node.left.priority > node.right.priority else node.right)
        child = node.left if node.left is not None else node.right
        parent = node.parent
        if child is not None:
            child.parent = parent
        if parent is None:
            self._root = child
        elif parent.left is node:
            parent.left = child
        else:
            parent.right = child
        above = parent
        while above is not None:
            above.count -= 1
            above = above.parent
        self._refresh_largest(parent)

    def update(self, key: int, length: int) -> None:
        """Give an address of the tree another length."""
        node = self._nodes[key]
        grows = length > node.length
        node.length = length
        if not grows:
            self._refresh_largest(node)
            return
        at: Node | None = node  # what grows needs no look at the children
        while at is not None and at.largest < length:
            at.largest = length
            at = at.parent

    def _refresh_largest(self, node: Node | None) -> None:
        """Recompute ``largest`` from a node up, as far as it changes."""
        while node is not None:
            largest, left, right = node.length, node.left, node.right
            if left is not None and left.largest > largest:
                largest = left.largest
            if right is not None and right.largest > largest:
                largest = right.largest
            if largest == node.largest:
                return
            node.largest = largest
            node = node.parent

    def _rotate_up(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None  # callers rotate children only
        top = parent.parent
        if parent.left is node:
            parent.left = node.right
            if node.right is not None:
                node.right.parent = parent
            node.right = parent
        else:
            parent.right = node.left
            if node.left is not None:
                node.left.parent = parent
            node.left = parent
        parent.parent, node.parent = node, top
        if top is None:
            self._root = node
        elif top.left is parent:
            top.left = node
        else:
            top.right = node
        node.largest, node.count = parent.largest, parent.count
        parent.refresh()

    # --- check -------------------------------------------------------------------------------------

    def faults(self) -> list[str]:
        """Return every breach of order, of the links and of the stored maxima, recomputed from the bottom."""
        found: list[str] = []
        seen: list[int] = []

        def walk(node: Node | None, parent: Node | None) -> tuple[int, int]:
            if node is None:
                return 0, 0
            left_largest, left_count = walk(node.left, node)
            seen.append(node.key)
            right_largest, right_count = walk(node.right, node)
            largest = max(node.length, left_largest, right_largest)
            if node.largest != largest:
                found.append(f"stored largest length at {node.key:#x} is {node.largest}, recomputed {largest}")
            if node.count != left_count + 1 + right_count:
                found.append(
                    f"stored count at {node.key:#x} is {node.count}, recomputed {left_count + 1 + right_count}"
                )
            if node.parent is not parent:
                found.append(f"parent link of {node.key:#x} is wrong")
            if parent is not None and node.priority > parent.priority:
                found.append(f"priority of {node.key:#x} is above its parent's")
            return largest, left_count + 1 + right_count

        walk(self._root, None)
        if seen != sorted(self._nodes):
            found.append("the tree's addresses differ from the node table's, or are out of order")
        return found
