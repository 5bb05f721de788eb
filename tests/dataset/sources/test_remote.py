"""Images in a store of the S3 protocol: listing them and reading them."""

import io
import tarfile
from pathlib import Path

import pytest

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.base import short_names
from sa_engine.dataset.folder.local_copy import local_copy
from sa_engine.dataset.folder.place import Place
from sa_engine.dataset.sources.listing import Source, list_sources, read_source_bytes
from sa_engine.errors import DatasetError, ImageError, UsageError


def fill(bucket: str, *keys: str) -> None:
    """Objects whose content is their key."""
    for key in keys:
        object_store.put(Place("s3", bucket, key), key.encode())


def names(url: str) -> list[str]:
    return [source.name for source in list_sources(url)]


def reason(source: Source, **limits: int) -> str:
    with pytest.raises(ImageError) as caught:
        read_source_bytes(source, **limits)
    return caught.value.reason


def test_a_folder_is_searched_deeply_and_sorted_as_here(bucket: str) -> None:
    fill(
        bucket,
        "p/b.jpg", "p/a.JPG", "p/sub/z.jpeg", "p/sub.jpg", "p/sub/deeper/a b.c.webp", "p/ünï.png",
        "p/notes.txt", "p/.hidden.jpg", "p/.hidden/x.jpg", "p/sub/.x/y.png", "p/x.heic", "q/c.jpg",
        "p/folder.png/", "pq/d.jpg",
    )  # fmt: skip
    listed = list_sources(f"s3://{bucket}/p/")
    assert [source.name for source in listed] == [
        "a.JPG", "b.jpg", "sub.jpg", "sub/deeper/a b.c.webp", "sub/z.jpeg", "x.heic", "ünï.png",
    ]  # fmt: skip
    assert listed[3].uri == f"s3://{bucket}/p/sub/deeper/a b.c.webp"
    assert [read_source_bytes(s) for s in listed] == [f"p/{s.name}".encode() for s in listed]
    assert list(list_sources(f"S3://{bucket}/p")) == list(listed)
    assert "q/c.jpg" in names(f"s3://{bucket}")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/*.jpg", ["a.jpg", "b.jpg"]),
        ("p/[ab].jp?", ["a.jpg", "b.jpg"]),
        ("p/[!a].jpg", ["b.jpg"]),
        ("p/20*", ["2025/c.jpg", "2025/deep/d.png", "2026/e.jpg"]),
        ("p/20*/*.jpg", ["2025/c.jpg", "2026/e.jpg"]),
        ("p/**/*.png", ["2025/deep/d.png", "f.png"]),
        ("p/*.odd", ["g.odd"]),
        ("p/*.tar", ["t.tar!in.jpg"]),
        ("*/a.jpg", ["p/a.jpg"]),
    ],
)
def test_patterns(bucket: str, pattern: str, expected: list[str]) -> None:
    fill(
        bucket,
        "p/a.jpg", "p/b.jpg", "p/2025/c.jpg", "p/2025/deep/d.png", "p/2026/e.jpg", "p/f.png",
        "p/g.odd", "p/.2025/h.jpg", "p/.i.jpg", "p/2025/notes.txt",
    )  # fmt: skip
    object_store.put(Place("s3", bucket, "p/t.tar"), tar_of(("in.jpg", b"x"))[0])
    assert names(f"s3://{bucket}/{pattern}") == expected


def tar_of(*members: tuple[str, bytes]) -> tuple[bytes, int]:
    """An archive, and where its first member's bytes are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue(), 512


def test_members_of_an_archive_are_read_by_their_ranges(bucket: str) -> None:
    data, _ = tar_of(("../../up.jpg", b"u" * 600), ("b/c.png", b"c" * 9), (".x.jpg", b""))
    place = Place("s3", bucket, "set.tar")
    object_store.put(place, data)
    up, other = sorted(list_sources(f"s3://{bucket}/set.tar"), key=lambda s: s.name, reverse=True)
    assert (up.name, up.tar_offset, up.tar_size) == ("set.tar!up.jpg", 512, 600)
    assert other.uri == f"s3://{bucket}/set.tar!b/c.png"
    assert read_source_bytes(up) == b"u" * 600 and read_source_bytes(other) == b"c" * 9
    assert read_source_bytes(Source(other.uri, other.name)) == b"c" * 9
    assert reason(up, max_bytes=599) == "too-large"
    object_store.put(place, data[:900])
    assert reason(up) == "truncated"
    with pytest.raises(UsageError, match="cut short"):
        list_sources(f"s3://{bucket}/set.tar")
    object_store.remove(place)
    assert reason(up) == "missing"


def test_lists_here_and_there(bucket: str, tmp_path: Path) -> None:
    fill(bucket, "p/a.jpg", "q/b.odd")
    (tmp_path / "c.jpg").write_bytes(b"local")
    text = f"c.jpg\ns3://{bucket}/q/b.odd\ns3://{bucket}/p/a.jpg\n"
    (tmp_path / "list.txt").write_text(text)
    listed = list_sources(tmp_path / "list.txt")
    assert [read_source_bytes(source) for source in listed] == [b"local", b"p/a.jpg", b"q/b.odd"]
    assert list(listed.with_uris()) == list(listed)
    object_store.put(Place("s3", bucket, "p/list.txt"), b"\xef\xbb\xbfa.jpg\r\n\r\n../q/b.odd")
    assert names(f"s3://{bucket}/p/list.txt") == ["../q/b.odd", "a.jpg"]
    assert read_source_bytes(list_sources(f"s3://{bucket}/p/list.txt")[1]) == b"p/a.jpg"


def test_single_objects_and_what_is_wrong_with_them(bucket: str) -> None:
    fill(bucket, "p/a.dat", "p/[x].jpg", "p/b.tar.gz", "n/notes.txt")
    assert names(f"s3://{bucket}/p/a.dat") == ["a.dat"]
    assert names(f"s3://{bucket}/p/[x].jpg") == ["[x].jpg"]
    with pytest.raises(UsageError, match="unpack it"):
        list_sources(f"s3://{bucket}/p/b.tar.gz")
    with pytest.raises(UsageError, match="there is nothing at"):
        list_sources(f"s3://{bucket}/nowhere")
    with pytest.raises(UsageError, match="no images in"):
        list_sources(f"s3://{bucket}/n")
    object_store.put(Place("s3", bucket, "p/empty.jpg"), b"")
    at = f"s3://{bucket}/p"
    assert reason(Source(f"{at}/empty.jpg", "empty.jpg")) == "empty"
    assert reason(Source(f"{at}/gone.jpg", "gone.jpg")) == "missing"
    assert reason(Source(f"{at}/a.dat", "a.dat"), max_bytes=6) == "too-large"
    assert read_source_bytes(Source(f"{at}/a.dat", "a.dat"), max_bytes=7) == b"p/a.dat"


def test_a_store_that_is_gone_is_no_fault_of_the_images(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs  # type: ignore[import-untyped]

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(DatasetError, match="cannot reach the store"):
        read_source_bytes(Source(f"s3://{bucket}/a.jpg", "a.jpg"))


def test_a_listing_of_many_pages(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "_PAGE", 2)
    fill(bucket, *(f"p/{k}.jpg" for k in range(5)))
    assert names(f"s3://{bucket}/p") == [f"{k}.jpg" for k in range(5)]


def test_a_copy_is_fetched_once_for_each_version(bucket: str) -> None:
    place = Place("s3", bucket, "models/vit_x.pth")
    object_store.put(place, b"one")
    first = local_copy(place.url)
    assert first.name == "vit_x.pth" and first.read_bytes() == b"one"
    first.write_bytes(b"kept")
    assert local_copy(place.url).read_bytes() == b"kept"
    object_store.put(place, b"another")
    assert local_copy(place.url).read_bytes() == b"another"
    assert local_copy("here.pth") == Path("here.pth")
    for url in (f"s3://{bucket}/models", f"s3://{bucket}"):
        with pytest.raises(UsageError, match="there is no file"):
            local_copy(url)


def test_short_names(tmp_path: Path) -> None:
    assert short_names("s3://bucket/a/b/") == ("a", "b")
    assert short_names("s3://bucket/b") == ("bucket", "b")
    assert short_names("s3://bucket") == ("", "bucket")
    assert short_names(tmp_path / "x" / ".." / "y") == (tmp_path.name, "y")
