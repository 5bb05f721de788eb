import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from sa_engine.dataset.sources.listing import Source, list_sources, read_source_bytes
from sa_engine.dataset.sources.walk import other_files
from sa_engine.errors import ImageError, UsageError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def names(path: str | os.PathLike[str]) -> list[str]:
    return [source.name for source in list_sources(path)]


def tar_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def reason(source: Source) -> str:
    with pytest.raises(ImageError) as caught:
        read_source_bytes(source, max_bytes=1000)
    return caught.value.reason


def test_a_folder_is_searched_deeply_and_sorted_by_bytes(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.jpg", "a.JPG", "B.png", "sub/z.jpeg", "sub.jpg", "sub-x.jpg", "sub/deeper/a b.c.webp",
        "Ünïcode.png", "notes.txt", ".hidden.jpg", ".hidden/x.jpg", "sub/.x/y.png", "x.heic",
    )  # fmt: skip
    listed = list_sources(tmp_path)
    assert [source.name for source in listed] == [
        "B.png", "a.JPG", "b.jpg", "sub-x.jpg", "sub.jpg", "sub/deeper/a b.c.webp", "sub/z.jpeg",
        "x.heic", "Ünïcode.png",
    ]  # fmt: skip
    assert [s.name.encode() for s in listed] == sorted(s.name.encode() for s in listed)
    assert listed[5].uri == str(tmp_path / "sub/deeper/a b.c.webp")
    assert [read_source_bytes(source) for source in listed] == [s.name.encode() for s in listed]


def test_a_relative_folder_gives_absolute_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    assert list(list_sources("photos")) == [Source(str(tmp_path / "photos/a.jpg"), "a.jpg")]
    assert list(list_sources("./photos/../photos/")) == list(list_sources("photos"))


def test_links_in_a_circle_end_and_each_folder_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a.jpg", "photos/sub/b.jpg", "elsewhere/c.jpg", "photos/.shy/d.jpg")
    photos = tmp_path / "photos"
    (photos / "self").symlink_to(photos)
    (photos / "sub/up").symlink_to(tmp_path / "photos")
    (photos / "again").symlink_to(photos / "sub")
    (photos / "out").symlink_to(tmp_path / "elsewhere")
    (photos / "out2").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(photos)
    (photos / "unhidden").symlink_to(photos / ".shy")
    assert names(photos) == ["a.jpg", "out/c.jpg", "sub/b.jpg", "unhidden/d.jpg"]


def test_linked_files_count_and_broken_links_are_reported_later(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.jpg")
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "good.jpg").symlink_to(tmp_path / "real/a.jpg")
    (photos / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    listed = list_sources(photos)
    assert [source.name for source in listed] == ["gone.jpg", "good.jpg", "loop.jpg"]
    assert reason(listed[0]) == "missing"
    assert read_source_bytes(listed[1]) == b"real/a.jpg"
    assert reason(listed[2]) == "unreadable"


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"pixels")
    (listed,) = list_sources(tmp_path)
    assert listed.name == "caf\\xe9.jpg"
    assert os.fsencode(listed.uri) == raw
    assert read_source_bytes(listed) == b"pixels"


def test_a_single_file_counts_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "photo.dat")
    assert list(list_sources(tmp_path / "photo.dat")) == [
        Source(str(tmp_path / "photo.dat"), "photo.dat")
    ]


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "d/a1.jpg", "d/a2.png", "d/b.jpg", "d/a3.txt", "d/e/a4.jpg", "d/x.dat")
    assert names(f"{tmp_path}/d/a*") == ["a1.jpg", "a2.png"]
    assert names(f"{tmp_path}/d/*.dat") == ["x.dat"]
    assert names(f"{tmp_path}/**/*.jpg") == ["d/a1.jpg", "d/b.jpg", "d/e/a4.jpg"]
    assert names(f"{tmp_path}/d/[ab]?.jpg") == ["a1.jpg"]
    assert names(f"{tmp_path}/d/?") == ["e/a4.jpg"]
    assert list_sources(f"{tmp_path}/d/a*")[0].uri == str(tmp_path / "d/a1.jpg")
    with pytest.raises(UsageError, match="no images in"):
        list_sources(f"{tmp_path}/d/q*")


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "[a].jpg", "a.jpg")
    assert names(tmp_path / "[a].jpg") == ["[a].jpg"]


def test_text_lists(tmp_path: Path) -> None:
    touch(tmp_path, "photos/a b.jpg", "photos/raw.dat", "other.jpg")
    listing = tmp_path / "photos" / "all.txt"
    text = f"raw.dat\r\n\n  \na b.jpg\r\n{tmp_path}/other.jpg\na b.jpg\n../other.jpg\n#x.jpg"
    listing.write_bytes(b"\xef\xbb\xbf" + text.encode())
    listed = list_sources(listing)
    assert [source.name for source in listed] == sorted(
        ["raw.dat", "a b.jpg", f"{tmp_path}/other.jpg", "../other.jpg", "#x.jpg"]
    )
    by_name = {source.name: source for source in listed}
    assert by_name[f"{tmp_path}/other.jpg"].uri == f"{tmp_path}/other.jpg"
    assert read_source_bytes(by_name["a b.jpg"]) == b"photos/a b.jpg"
    assert read_source_bytes(by_name["../other.jpg"]) == b"other.jpg"
    assert reason(by_name["#x.jpg"]) == "missing"


def test_tars(tmp_path: Path) -> None:
    path = tar_of(
        tmp_path / "all.tar",
        ("z/b.jpg", b"bbb"),
        ("./a.png", b"aaaa"),
        ("notes.txt", b"-"),
        ("z/._b.jpg", b"mac"),
        ("z/b.jpg", b"later"),
        ("../../etc/evil.jpg", b"evil"),
        ("/abs.jpg", b"abs"),
        ("empty.jpg", b""),
    )
    listed = list_sources(path)
    assert [source.name for source in listed] == [
        "all.tar!a.png",
        "all.tar!abs.jpg",
        "all.tar!empty.jpg",
        "all.tar!etc/evil.jpg",
        "all.tar!z/b.jpg",
    ]
    assert listed[0].uri == f"{path}!a.png"
    assert read_source_bytes(listed[0]) == b"aaaa"
    assert read_source_bytes(listed[4]) == b"later"
    assert reason(listed[2]) == "empty"
    # Without the member's place, as someone might build it by hand.
    assert read_source_bytes(Source(f"{path}!a.png", "a")) == b"aaaa"
    assert reason(Source(f"{path}!none.png", "a")) == "missing"
    # Several tars at once.
    tar_of(tmp_path / "more.tar", ("c.jpg", b"c"))
    assert len(list_sources(f"{tmp_path}/*.tar")) == 6


def test_links_in_tars_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(b"secret")
    path = tmp_path / "t.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo("link.jpg")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
        archive.addfile(tarfile.TarInfo("real.jpg"))
    assert names(path) == ["t.tar!real.jpg"]


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1536, 1600, 3072])
def test_a_cut_tar_is_refused_before_the_run(tmp_path: Path, length: int) -> None:
    path = tar_of(tmp_path / "t.tar", ("a.jpg", b"a" * 600), ("b.jpg", b"b" * 600))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UsageError, match=r"cut short|no tar"):
        list_sources(path)


def test_packed_tars_and_unknown_urls_say_what_to_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.tar.gz", "b.tgz")
    with pytest.raises(UsageError, match="unpack it"):
        list_sources(tmp_path / "a.tar.gz")
    with pytest.raises(UsageError, match="begins with s3://, gs://"):
        list_sources("http://host/photos")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*gone.*give an existing"):
        list_sources(tmp_path / "gone")
    with pytest.raises(UsageError, match="no images in"):
        list_sources(tmp_path)
    touch(tmp_path, "readme.md", "empty.txt")
    (tmp_path / "empty.txt").write_text("\n")
    for path in (tmp_path, tmp_path / "empty.txt"):
        with pytest.raises(UsageError, match=r"no images in .* text list"):
            list_sources(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    (tmp_path / "a.jpg").chmod(0)
    assert reason(Source(str(tmp_path / "a.jpg"), "a.jpg")) == "unreadable"
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(UsageError, match=r"cannot list .*locked"):
            list_sources(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_reasons(tmp_path: Path) -> None:
    touch(tmp_path, "empty.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "long.jpg").write_bytes(bytes(1001))
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, expected in [
        ("empty.jpg", "empty"),
        ("long.jpg", "too-large"),
        ("folder.jpg", "unreadable"),
        ("pipe.jpg", "unreadable"),
        ("gone.jpg", "missing"),
        ("empty.jpg/below.jpg", "unreadable"),
    ]:
        assert reason(Source(str(tmp_path / name), name)) == expected
    assert reason(Source("/dev/zero", "zero")) == "unreadable"
    # A pipe in a folder is not even listed.
    assert names(tmp_path) == ["empty.jpg", "long.jpg"]


def test_a_listing_behaves_as_a_sequence(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{k:03d}.jpg" for k in range(10)))
    listed = list_sources(tmp_path)
    assert len(listed) == 10 and listed[-1].name == "009.jpg"
    assert [s.name for s in listed[2:5]] == ["002.jpg", "003.jpg", "004.jpg"]
    assert [s.name for s in listed[::-4]] == ["009.jpg", "005.jpg", "001.jpg"]
    assert len(listed[:0]) == 0 and len(listed[8:99]) == 2
    assert listed.digest() == list_sources(tmp_path).digest() != listed[:9].digest()
    with pytest.raises(IndexError):
        listed[10]


def test_several_files_and_folders_are_named_from_what_they_share(tmp_path: Path) -> None:
    for name in ("photos/a.jpg", "photos/b.png", "photos/notes.txt", "more/deep/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    # As a shell makes of photos/*: the same names as of the pattern itself.
    shell = sorted(str(path) for path in (tmp_path / "photos").iterdir())
    assert list(list_sources(shell)) == list(list_sources(f"{tmp_path}/photos/*"))
    both = list_sources([str(tmp_path / "photos"), str(tmp_path / "more")])
    assert [source.name for source in both] == ["more/deep/c.jpg", "photos/a.jpg", "photos/b.png"]
    assert both[0].uri == str(tmp_path / "more/deep/c.jpg")
    assert list(list_sources([str(tmp_path / "more")])) == list(list_sources(tmp_path / "more"))
    for paths, message in (
        ([str(tmp_path / "photos"), "s3://bucket/photos"], "give s3://bucket/photos alone"),
        ([str(tmp_path / "photos"), "none.jpg"], r"there is no none\.jpg"),
        ([shell[2], shell[2]], "no images in"),
        ([], "no images were given"),
    ):
        with pytest.raises(UsageError, match=message):
            list_sources(paths)


def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.MP4", "c.mp4", "deep/d.pdf", "README", ".hidden", ".git/x.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert other_files(bytes(tmp_path)) == {".mp4": 2, ".pdf": 1, "without a suffix": 1}


def test_a_sparse_member_is_read_up_to_a_limit(tmp_path: Path) -> None:
    """Some kilobytes of archive, which become as much as a header says."""
    for name, size in (("small.png", 1 << 16), ("large.png", 3 << 30)):
        with (tmp_path / name).open("wb") as file:
            file.write(b"\x89PNG")
            file.truncate(size)
    tar = tmp_path / "sparse.tar"
    names = ["large.png", "small.png"]
    subprocess.run(["tar", "-cSf", tar, "-C", tmp_path, *names], check=True)
    assert tar.stat().st_size < 1 << 16
    large, small = list_sources(tar)
    assert len(read_source_bytes(small)) == 1 << 16
    with pytest.raises(ImageError, match="has 3221225472 bytes, limit 67108864") as caught:
        read_source_bytes(large, max_bytes=4 << 30)
    assert caught.value.reason == "too-large"
