"""The address-ordered tree of lengths, against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coalloc.vm.fittree import FitTree

KEYS = st.integers(0, 60)
OPERATIONS = st.lists(st.tuples(st.sampled_from(["insert", "remove", "update"]), KEYS, st.integers(0, 20)), max_size=60)


@given(OPERATIONS, st.integers(1, 21), KEYS)
def test_every_answer_is_that_of_a_scan(operations: list[tuple[str, int, int]], length: int, start: int) -> None:
    """First fit, floor, rank and maximum agree with a scan over a dict, and the tree finds no faults in itself."""
    tree, model = FitTree(), dict[int, int]()
    for what, key, value in operations:
        if what == "insert" and key not in model:
            tree.insert(key, value)
            model[key] = value
        elif what == "remove" and key in model:
            tree.remove(key)
            del model[key]
        elif what == "update" and key in model:
            tree.update(key, value)
            model[key] = value
        assert tree.faults() == []
    keys = sorted(model)
    fits = [key for key in keys if model[key] >= length]
    assert tree.first_fit(length) == (fits[0] if fits else None)
    assert tree.first_fit(length, start) == next((key for key in fits if key >= start), None)
    assert tree.floor(start) == max((key for key in keys if key <= start), default=None)
    assert [tree.rank(key) for key in keys] == list(range(len(keys)))
    assert (list(tree), len(tree), tree.largest) == (keys, len(keys), max(model.values(), default=0))
    assert all(tree[key] == value for key, value in model.items())


def test_a_search_from_an_address_is_that_of_a_scan_in_a_large_tree() -> None:
    """In a tree of 150 keys a search from an address agrees with a scan."""
    lengths = {key * 7: key * 37 % 23 + 1 for key in range(150)}
    tree = FitTree()
    for key, length in lengths.items():
        tree.insert(key, length)
    for start in range(0, 150 * 7 + 7, 5):
        for length in (1, 5, 12, 20, 23, 24):
            expected = next((key for key in sorted(lengths) if key >= start and lengths[key] >= length), None)
            assert tree.first_fit(length, start) == expected


@given(st.permutations(range(12)))
def test_the_shape_depends_on_the_keys_alone(order: list[int]) -> None:
    """A search visits as many nodes whatever the order of insertion was."""
    trees = FitTree(), FitTree()
    for key in range(12):
        trees[0].insert(key * 4096, key)
    for key in order:
        trees[1].insert(key * 4096, key)
    for length in range(1, 13):
        visits = []
        for tree in trees:
            before = tree.visits
            tree.first_fit(length)
            visits.append(tree.visits - before)
        assert visits[0] == visits[1]


def test_a_corrupt_tree_is_found_out() -> None:
    """The tree reports each stored value that is wrong."""
    tree = FitTree()
    for key in range(8):
        tree.insert(key, key)
    root = tree._root
    assert root is not None
    child = root.left or root.right
    assert child is not None
    root.largest += 1
    assert "stored largest" in tree.faults()[0]
    root.largest -= 1
    root.count += 1
    assert "stored count" in tree.faults()[0]
    root.count -= 1
    child.parent = None
    assert "parent link" in tree.faults()[0]
    child.parent = root
    child.key += 100
    assert any("out of order" in fault for fault in tree.faults())
    child.key -= 100
    tree.update(7, 70)
    assert (tree.faults(), tree.largest, tree[7]) == ([], 70, 70)
    child.priority = root.priority + 1
    assert any("priority" in fault for fault in tree.faults())
    child.priority = 0
    tree._nodes[99] = child
    assert any("differ" in fault for fault in tree.faults())


def test_an_address_can_get_another_length_and_none_may_stand_out_of_order() -> None:
    """A longer one is found where the shorter was not; and nodes that have changed places are reported."""
    tree = FitTree()
    for key in range(8):
        tree.insert(key, 1)
    tree.update(5, 9)
    assert (tree.first_fit(9), tree.largest, tree.faults()) == (5, 9, [])
    low, high = tree._nodes[0], tree._nodes[7]
    low.key, high.key = high.key, low.key
    assert "the tree's addresses are out of order" in tree.faults()
