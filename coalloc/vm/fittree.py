"""Lengths ordered by address, each subtree knowing its largest length, so that first fit is one descent.

:class:`NodeTree` keeps nodes that its user holds, and may have made a subclass of; :class:`FitTree` finds them by address,
too.  Both keep the order of the addresses, and stored maxima that equal the recomputed ones (:meth:`NodeTree.faults`).

A treap whose priorities are hashed from the keys: its shape depends on the set of keys alone, not on the order in which
they came, so that counted visits can be compared between runs.  The kernel's tree was a splay tree with the same stored
maximum (``max_free``); its shape depends on the history.  Both visit O(log n) nodes (the splay tree: amortised).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Generic, Self, TypeVar

__all__ = ["FitTree", "Node", "NodeTree"]

_MASK: Final = 2**64 - 1


def _priority(key: int) -> int:
    """Mix the key's bits (the finaliser of splitmix64), so that regular keys give a balanced tree."""
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    key = (key ^ (key >> 27)) * 0x94D049BB133111EB & _MASK
    return key ^ (key >> 31)


class Node:
    """One length at one address, and what its subtree holds.

    Args:
        key: The address; the tree has no other node of this address.
        length: Bytes, >= 0.
    """

    __slots__ = ("count", "key", "largest", "left", "length", "parent", "priority", "right")

    left: Self | None
    right: Self | None
    parent: Self | None

    def __init__(self, key: int, length: int) -> None:
        self.key = key
        self.length = self.largest = length
        self.priority = _priority(key)
        self.count = 1
        self.left = self.right = self.parent = None

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


N = TypeVar("N", bound=Node)


class NodeTree(Generic[N]):
    """Order nodes by their addresses; find the lowest whose length suffices.

    Complexity: every method O(log n) expected, ``largest`` O(1).
    """

    __slots__ = ("_root", "visits")

    def __init__(self) -> None:
        self._root: N | None = None
        self.visits = 0
        """Nodes visited by searches for a length so far."""

    @property
    def largest(self) -> int:
        """The largest length, 0 in an empty tree."""
        return self._root.largest if self._root is not None else 0

    def nodes(self) -> Iterator[N]:
        """Yield the nodes in ascending order."""
        path: list[N] = []
        at = self._root
        while path or at is not None:
            while at is not None:
                path.append(at)
                at = at.left
            node = path.pop()
            yield node
            at = node.right

    # --- search ------------------------------------------------------------------------------------

    def lowest(self, length: int, below: N | None = None) -> N | None:
        """Return the lowest node whose length is at least ``length`` (> 0), or None.

        Args:
            length: Bytes.
            below: Look at this node and its children only; None looks at all.

        Complexity: O(log n) nodes, counted in ``visits``; a failure looks at one node alone.
        """
        node = self._root if below is None else below
        if node is None:
            return None
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
                return node
            else:
                assert node.right is not None  # the subtree holds a fit, and it is neither here nor on the left
                node = node.right
            visits += 1

    def at_or_below(self, key: int) -> N | None:
        """Return the highest node whose address is at most ``key``, or None."""
        node, best = self._root, None
        while node is not None:
            if node.key <= key:
                best, node = node, node.right
            else:
                node = node.left
        return best

    def rank_of(self, node: N) -> int:
        """Return how many nodes lie below a node of the tree."""
        rank = node.left.count if node.left is not None else 0
        while (parent := node.parent) is not None:
            if node is parent.right:
                rank += parent.count - node.count
            node = parent
        return rank

    # --- change ------------------------------------------------------------------------------------

    def add(self, node: N) -> None:
        """Add a node that is in no tree, and whose address is not in this one."""
        key, length = node.key, node.length
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
        above: N | None = at
        while above is not None and node.priority > above.priority:
            self._rotate_up(node)
            above = node.parent

    def drop(self, node: N) -> None:
        """Take a node of the tree out; its address and length stay, and what concerns the tree is as in a new node."""
        while (left := node.left) is not None and (right := node.right) is not None:
            self._rotate_up(left if left.priority > right.priority else right)
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
        node.left = node.right = node.parent = None
        node.count, node.largest = 1, node.length

    def move(self, node: N, key: int, length: int) -> None:
        """Give a node of the tree another address, which is not in the tree, and another length."""
        self.drop(node)
        node.key = key
        node.length = node.largest = length
        node.priority = _priority(key)
        self.add(node)

    def set_length(self, node: N, length: int) -> None:
        """Give a node of the tree another length."""
        before, node.length = node.length, length
        at: N | None = node
        if length > before:  # what grows needs no look at the children
            while at is not None and at.largest < length:
                at.largest = length
                at = at.parent
        elif before == node.largest:  # only the largest of a subtree is missed there
            self._refresh_largest(node)

    def _refresh_largest(self, node: N | None) -> None:
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

    def _rotate_up(self, node: N) -> None:
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

        def walk(node: N | None, parent: N | None) -> tuple[int, int]:
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
            if node.priority != _priority(node.key):
                found.append(f"priority of {node.key:#x} is not that of its address")
            if parent is not None and node.priority > parent.priority:
                found.append(f"priority of {node.key:#x} is above its parent's")
            return largest, left_count + 1 + right_count

        walk(self._root, None)
        if any(low >= high for low, high in pairwise(seen)):
            found.append("the tree's addresses are out of order")
        return found


class FitTree(NodeTree[Node]):
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

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        super().__init__()
        self._nodes: dict[int, Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[int]:
        """Yield the addresses in ascending order."""
        return iter(sorted(self._nodes))

    def __getitem__(self, key: int) -> int:
        return self._nodes[key].length

    def first_fit(self, length: int, start: int | None = None) -> int | None:
        """Return the lowest address (not below ``start``) whose length is at least ``length`` (> 0), or None.

        Complexity: O(log n) nodes, counted in ``visits``; a failure without ``start`` looks at the root alone.
        """
        found = self.lowest(length) if start is None else self._lowest_from(length, start)
        return None if found is None else found.key

    def _lowest_from(self, length: int, start: int) -> Node | None:
        """Find the first fit at or above ``start``: descend to ``start``, then climb until a subtree holds a fit."""
        path: list[Node] = []
        at = self._root
        while at is not None:
            self.visits += 1
            if at.key < start:
                at = at.right
            else:
                path.append(at)
                at = at.left
        for at in reversed(path):  # ascending keys, all >= start; each right subtree lies between it and the next
            if at.length >= length:
                return at
            if at.right is not None and at.right.largest >= length:
                return self.lowest(length, at.right)
        return None

    def floor(self, key: int) -> int | None:
        """Return the highest address that is at most ``key``, or None."""
        found = self.at_or_below(key)
        return None if found is None else found.key

    def rank(self, key: int) -> int:
        """Return how many addresses lie below ``key``, which must be in the tree."""
        return self.rank_of(self._nodes[key])

    def insert(self, key: int, length: int) -> None:
        """Add an address that is not in the tree yet."""
        node = self._nodes[key] = Node(key, length)
        self.add(node)

    def remove(self, key: int) -> None:
        """Take an address out of the tree."""
        self.drop(self._nodes.pop(key))

    def update(self, key: int, length: int) -> None:
        """Give an address of the tree another length."""
        self.set_length(self._nodes[key], length)

    def shift(self, key: int, to: int, length: int) -> None:
        """Replace an address of the tree by one that is not in the tree, and give it another length."""
        node = self._nodes[to] = self._nodes.pop(key)
        self.move(node, to, length)

    def faults(self) -> list[str]:
        """Return every breach, of the table of nodes, too."""
        found = super().faults()
        if {node.key: node for node in self.nodes()} != self._nodes:
            found.append("the tree's addresses differ from the node table's")
        return found
