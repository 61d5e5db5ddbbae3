"""The tree agrees with a second implementation; proofs prove what they say, and nothing else."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlflow_ledger.consumers import merkle
from mlflow_ledger.consumers.merkle import EMPTY_ROOT, ProofError, leaf_hash, nodes_of
from mlflow_ledger.consumers.tiles import Edge, Tile, nodes_in

from . import rfc6962

# The test vectors that implementations of Certificate Transparency share.
VECTORS = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)

trees = st.integers(1, 70).flatmap(
    lambda size: st.lists(st.binary(max_size=3), min_size=size, max_size=size)
)


def leaves_of(data: list[bytes]) -> list[bytes]:
    return [leaf_hash(entry) for entry in data]


def test_known_roots() -> None:
    assert hashlib.sha256().digest() == EMPTY_ROOT
    for size, root in enumerate(ROOTS, 1):
        nodes = nodes_of(leaves_of(VECTORS[:size]))
        assert merkle.subtree_hash(nodes, 0, size).hex() == root
        assert rfc6962.mth(VECTORS[:size]).hex() == root


@given(trees)
def test_roots_and_paths_are_those_of_a_second_implementation(data: list[bytes]) -> None:
    size = len(data)
    nodes = nodes_of(leaves_of(data))
    root = merkle.subtree_hash(nodes, 0, size)
    assert root == rfc6962.mth(data)
    for index in range(size):
        path = merkle.inclusion_path(nodes, index, size)
        assert path == rfc6962.path(index, data)
        assert merkle.root_from_path(leaf_hash(data[index]), index, size, path) == root
        assert rfc6962.root_by_path(index, size, data[index], path) == root


@given(trees, st.data())
def test_consistency_holds_between_any_two_sizes(data: list[bytes], draw: st.DataObject) -> None:
    second = len(data)
    nodes = nodes_of(leaves_of(data))
    first = draw.draw(st.integers(0, second))
    path = merkle.consistency_path(nodes, first, second)
    if first:
        assert path == rfc6962.proof(first, data)
    roots = rfc6962.mth(data[:first]), rfc6962.mth(data)
    merkle.check_consistency(first, roots[0], second, roots[1], path)


@given(trees, st.data())
def test_a_path_of_another_tree_does_not_show_consistency(
    data: list[bytes], draw: st.DataObject
) -> None:
    """Whatever is changed before the first checkpoint, no path of the tree that results will do."""
    first = draw.draw(st.integers(1, len(data)))
    at = draw.draw(st.integers(0, first - 1))
    changed = [*data]
    changed[at] += b"!"
    path = merkle.consistency_path(nodes_of(leaves_of(changed)), first, len(data))
    with pytest.raises(ProofError):
        merkle.check_consistency(
            first, rfc6962.mth(data[:first]), len(data), rfc6962.mth(changed), path
        )


@given(trees, st.data())
def test_a_spoilt_path_leads_nowhere(data: list[bytes], draw: st.DataObject) -> None:
    size = len(data)
    index = draw.draw(st.integers(0, size - 1))
    path = merkle.inclusion_path(nodes_of(leaves_of(data)), index, size)
    root = rfc6962.mth(data)
    for spoilt in [[*path, root], path[:-1] if path else [root], [root, *path[1:]]]:
        try:
            found = merkle.root_from_path(leaf_hash(data[index]), index, size, spoilt)
        except ProofError:
            continue
        assert found != root


@pytest.mark.parametrize("first", [-1, 9])
def test_what_is_no_beginning_has_no_path(first: int) -> None:
    nodes = nodes_of(leaves_of(VECTORS))
    with pytest.raises(ProofError):
        merkle.consistency_path(nodes, first, 8)
    with pytest.raises(ProofError):
        merkle.inclusion_path(nodes, first, 8)


def test_two_roots_of_one_size_do_not_agree() -> None:
    merkle.check_consistency(3, b"a", 3, b"a", [])
    for wrong in ((3, b"a", 3, b"b"), (0, b"a", 3, b"b"), (4, b"a", 3, b"b")):
        with pytest.raises(ProofError):
            merkle.check_consistency(*wrong, [])
    with pytest.raises(ProofError, match="wrong length"):
        merkle.check_consistency(3, b"a", 5, b"b", [])


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 511, 512, 65536, 65537, 70000])
def test_tiles_hold_the_tree(size: int) -> None:
    """Tiles grow in steps as of a service; root and proofs follow from them alone."""
    draw = random.Random(size)
    leaves = [leaf_hash(index.to_bytes(4, "big")) for index in range(size)]
    edge, tiles, done = Edge(), {}, 0
    while done < size:
        step = draw.randint(1, max(1, size // 3))
        tiles.update(edge.extend(leaves[done : done + step]))
        tiles.update(edge.partial())
        done += step
        rows: list[list[bytes]] = [[] for _ in Tile.levels(edge.size)]
        for tile, data in edge.partial():
            rows[tile.level] = [data[at : at + 32] for at in range(0, len(data), 32)]
        edge = Edge(edge.size, rows)  # as another process goes on
    nodes = nodes_of(leaves)
    root = merkle.subtree_hash(nodes, 0, size)
    assert edge.root() == root
    wanted = {tile for level in Tile.levels(size) for tile in Tile.of_size(size, level)}
    assert wanted <= tiles.keys()
    stored = nodes_in({tile: tiles[tile] for tile in wanted}.__getitem__, size)
    assert merkle.subtree_hash(stored, 0, size) == root
    for index in {0, size // 2, size - 1, draw.randrange(size)}:
        path = merkle.inclusion_path(stored, index, size)
        assert merkle.root_from_path(leaves[index], index, size, path) == root
    first = draw.randint(1, size)
    path = merkle.consistency_path(stored, first, size)
    merkle.check_consistency(first, merkle.subtree_hash(nodes, 0, first), size, root, path)


def test_tiles_are_named_as_tlog_tiles_names_them() -> None:
    """Names and widths from C2SP's own examples."""
    assert Tile(0, 1234067).name == "tile/0/x001/x234/067"
    assert Tile(3, 7, 12).name == "tile/3/007.p/12"
    assert Tile(0, 1000).name == "tile/0/x001/000"
    of_70000 = [[tile.width for tile in Tile.of_size(70_000, level)] for level in range(3)]
    assert [len(widths) for widths in of_70000] == [274, 2, 1]
    assert [widths[-1] for widths in of_70000] == [112, 17, 1]
    assert [[t.width for t in Tile.of_size(256, level)] for level in range(2)] == [[256], [1]]
    assert list(Tile.levels(256)) == [0, 1]
    assert list(Tile.levels(255)) == [0]


@given(st.integers(0, 5), st.integers(0, 10**10), st.integers(1, 256))
def test_a_tiles_name_is_read_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert Tile.parse(tile.name) == tile


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/1", "tile/x/000", "tile/0/000.p/", ""])
def test_what_is_no_tile_has_no_name_of_one(name: str) -> None:
    assert Tile.parse(name) is None
