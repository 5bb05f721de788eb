from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sa_engine.dataset.folder.base import LocalFolder
from sa_engine.dataset.sources.frozen import FrozenInputs, freeze
from sa_engine.dataset.sources.source_list import Source, SourceList


def listing(*names: bytes, root: bytes = b"/photos") -> SourceList:
    return SourceList(pa.array(names, pa.large_binary()), root=root)


TEN = listing(*(b"%d.jpg" % k for k in range(10)))


def test_any_shard_is_read_alone(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    freeze(folder, TEN, images_per_shard=4)
    frozen = FrozenInputs(folder)
    assert len(frozen) == 10
    assert pq.read_metadata(tmp_path / "inputs.parquet").num_row_groups == 3
    assert list(frozen.shard(2)) == [
        Source("/photos/8.jpg", "8.jpg"),
        Source("/photos/9.jpg", "9.jpg"),
    ]
    assert list(frozen.all()) == list(TEN)
    assert frozen.all().digest() == TEN.digest()
    table = pq.read_table(tmp_path / "inputs.parquet")
    assert table.column("image_id").to_pylist() == list(range(1, 11))


def test_the_same_list_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        freeze(LocalFolder(tmp_path / name), TEN, images_per_shard=3)
    first, second = (tmp_path / name / "inputs.parquet" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    # Arrays in pieces are the same list.
    pieces = pa.chunked_array([TEN.names.chunk(0)[:3], TEN.names.chunk(0)[3:]])
    assert SourceList(pieces, root=b"/photos").digest() == TEN.digest()


def test_places_in_tars_odd_names_and_own_uris_come_back(tmp_path: Path) -> None:
    sources = [
        Source("/t/a.tar!x.jpg", "a.tar!x.jpg", 512, 99),
        Source("/t/caf\udce9.jpg", "caf\\xe9.jpg"),
        Source("/elsewhere/Ü.jpg", "Ü.jpg"),
    ]
    frozen = SourceList.of(sources)
    freeze(LocalFolder(tmp_path), frozen, images_per_shard=2)
    found = FrozenInputs(LocalFolder(tmp_path))
    assert list(found.all()) == sources
    assert [*found.shard(0), *found.shard(1)] == sources
    assert found.all().digest() == frozen.digest()


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    odd = listing(b"caf\xe9.jpg", b"ok.jpg")
    freeze(LocalFolder(tmp_path), odd, images_per_shard=2)
    found = FrozenInputs(LocalFolder(tmp_path)).shard(0)
    assert list(found) == [
        Source("/photos/caf\udce9.jpg", "caf\\xe9.jpg"),
        Source("/photos/ok.jpg", "ok.jpg"),
    ]
    assert found.digest() == odd.digest()


def test_an_empty_list(tmp_path: Path) -> None:
    empty = listing()
    freeze(LocalFolder(tmp_path), empty, images_per_shard=5)
    assert list(FrozenInputs(LocalFolder(tmp_path)).all()) == []
    assert FrozenInputs(LocalFolder(tmp_path)).all().digest() == empty.digest()


def test_sorting_drops_repeats() -> None:
    mixed = listing(b"b", b"a", b"\xff", b"a", b"a/b", b"a.b")
    assert mixed.sorted().names.to_pylist() == [b"a", b"a.b", b"a/b", b"b", b"\xff"]
    assert listing(b"a", b"b").sorted().names.to_pylist() == [b"a", b"b"]
    assert listing(b"a", b"a").sorted().names.to_pylist() == [b"a"]
    assert listing().sorted().names.to_pylist() == []


def test_lists_are_joined_with_their_places() -> None:
    tarred = SourceList.of([Source("/t.tar!x", "t.tar!x", 512, 3)])
    mixed = listing(b"a", b"/abs/b", root=b"/r")
    joined = SourceList.joined([mixed, tarred])
    assert list(joined) == [
        Source("/r/a", "a"),
        Source("/abs/b", "/abs/b"),
        Source("/t.tar!x", "t.tar!x", 512, 3),
    ]
    assert list(joined.take([2, 0])) == [joined[2], joined[0]]


def test_a_list_that_has_grown_begins_as_it_did(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    freeze(folder, TEN[:6], images_per_shard=4)
    before = FrozenInputs(folder)
    shards = [list(before.shard(index)) for index in range(2)]
    freeze(folder, TEN, images_per_shard=4, begins=[6])
    # A worker that has read the old list goes on, and one that comes later sees the same.
    for frozen in (before, FrozenInputs(folder)):
        assert [list(frozen.shard(index)) for index in range(2)] == shards
    assert list(FrozenInputs(folder).shard(2)) == list(TEN[6:])
    assert list(FrozenInputs(folder).all()) == list(TEN)
