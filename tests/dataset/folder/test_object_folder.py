"""A dataset's folder in a store of the S3 protocol: a real server, real requests."""

import io
import json
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sa_engine.dataset.folder import object_store
from sa_engine.dataset.folder.base import LocalFolder, ObjectFolder, open_folder
from sa_engine.dataset.folder.layout import SharedScratch
from sa_engine.dataset.folder.place import EXTRAS, Place
from sa_engine.dataset.manifest import Manifest, is_dataset, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards import shared_claims
from sa_engine.dataset.shards.claims import claim, holders
from sa_engine.dataset.sources.source_list import Source
from sa_engine.dataset.verify import verify
from sa_engine.errors import DatasetError, UsageError
from tests.conftest import ObjectServer
from tests.dataset.conftest import Maker

boto3 = pytest.importorskip("boto3")
s3fs = pytest.importorskip("s3fs")


def objects(bucket: str) -> dict[str, bytes]:
    """Everything in a bucket."""
    place = Place("s3", bucket, "")
    keys = [key for page in object_store.pages(place, deep=True) for key in page.objects]
    return {key: object_store.read(place.join(key)) for key in keys}


def test_whole_files_and_ranges(bucket: str) -> None:
    folder = open_folder(f"s3://{bucket}/data/set/")
    assert isinstance(folder, ObjectFolder) and folder.url == f"s3://{bucket}/data/set"
    assert folder.names() == []
    folder.write("b.bin", b"0123456789")
    folder.write("a.bin", b"")
    object_store.put(Place("s3", bucket, "data/set/deeper/x"), b"x")
    object_store.put(Place("s3", bucket, "data/settings"), b"x")
    assert folder.names() == ["a.bin", "b.bin"]
    assert folder.read("b.bin") == b"0123456789" and folder.size("b.bin") == 10
    assert folder.read("a.bin") == b"" and folder.size("a.bin") == 0
    assert folder.read_range("b.bin", 3, 4) == b"3456"
    assert folder.read_range("b.bin", 8, 9) == b"89" and folder.read_range("b.bin", 20, 9) == b""
    with folder.open("b.bin") as file:
        assert file.seek(5) == 5 and file.read() == b"56789"
        assert file.seek(-3, io.SEEK_END) == 7 and file.read(2) == b"78" and file.tell() == 9
        with pytest.raises(OSError, match="before the beginning"):
            file.seek(-11, io.SEEK_END)
    folder.write("b.bin", b"new")
    assert folder.read("b.bin") == b"new"
    folder.remove("b.bin")
    folder.remove("b.bin")
    assert folder.size("b.bin") is None and folder.names() == ["a.bin"]
    for name in ("b.bin", "deeper"):
        with pytest.raises(FileNotFoundError):
            folder.read(name)
        with pytest.raises(FileNotFoundError):
            folder.open(name)


def test_publishing_copies_and_leaves_the_local_file(bucket: str, tmp_path: Path) -> None:
    folder = open_folder(f"s3://{bucket}")
    large = tmp_path / "large"
    # Over what is sent in one piece.
    large.write_bytes(bytes(range(256)) * (33 << 12))
    folder.publish(large, "final")
    assert folder.names() == ["final"] and large.exists()
    assert folder.size("final") == large.stat().st_size
    assert folder.read_range("final", (20 << 20) + 5, 3) == b"\x05\x06\x07"
    copy = tmp_path / "copy"
    object_store.download(Place("s3", bucket, "final"), copy)
    assert copy.read_bytes() == large.read_bytes()


def test_two_endpoints_have_two_scratch_folders(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(f"s3://{bucket}/x")
    here = folder.scratch
    assert here.is_dir() and open_folder(f"s3://{bucket}/x/").scratch == here
    assert open_folder(f"s3://{bucket}/y").scratch != here
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert folder.scratch != here


def test_a_dataset_there_is_the_same_as_here(
    bucket: str, tmp_path: Path, make_dataset: Maker
) -> None:
    url = f"s3://{bucket}/set"
    make_dataset(tmp_path / "local", range(10))
    make_dataset(url, range(10))
    local = {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
    # No scratch stays, there or here.
    assert objects(bucket) == {f"set/{name}": data for name, data in local.items()}
    assert not open_folder(url).scratch_files()
    assert verify(url) == [] and is_dataset(url) and not is_dataset(f"s3://{bucket}")

    there, here = Dataset(url), Dataset(tmp_path / "local")
    assert there.digest() == here.digest() and len(there) == 10
    assert list(there) == list(here) and there[6] == here[6]
    assert there.read_image_bytes(there[6]) == here.read_image_bytes(here[6])

    stats = json.loads(local["sa_000001_stats.json"])
    stats["num_masks"] += 1
    open_folder(url).write("sa_000001_stats.json", json.dumps(stats).encode())
    open_folder(url).write("stray.txt", b"")
    assert [(p.file, p.kind) for p in verify(url)] == [
        ("stray.txt", "stray"),
        ("sa_000001_stats.json", "checksum"),
    ]


def test_one_image_is_read_without_its_shard(
    bucket: str, make_dataset: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{bucket}/set"
    make_dataset(url, range(8), images_per_shard=8)
    dataset = Dataset(url)
    fetched: list[tuple[str, int]] = []
    read = object_store.read

    def counting(place: Place, start: int = 0, end: int | None = None) -> bytes:
        data = read(place, start, end)
        fetched.append((place.key, len(data)))
        return data

    monkeypatch.setattr(object_store, "read", counting)
    record = dataset[2]
    data = dataset.read_image_bytes(record)
    of_tar = [size for key, size in fetched if key.endswith(".tar")]
    tar_size = open_folder(url).size("sa_000000.tar")
    assert len(of_tar) == 2 and of_tar[1] == len(data) and tar_size is not None
    assert sum(of_tar) < tar_size / 2


PLAN = Manifest(stage=Stage.AUTOMATIC, num_images=3)
SOURCES = [Source(f"/photos/{k}.jpg", f"{k}.jpg") for k in range(3)]


def test_other_things_are_left_alone(bucket: str) -> None:
    object_store.put(Place("s3", bucket, "thesis/draft.tex"), b"x")
    for url in (f"s3://{bucket}", f"s3://{bucket}/thesis"):
        with pytest.raises(UsageError, match="not empty and not a dataset"):
            open_output(url, PLAN, SOURCES)
    open_output(f"s3://{bucket}/out", PLAN, SOURCES)
    assert set(objects(bucket)) == {
        "thesis/draft.tex", "out/manifest.json", "out/inputs.parquet",
        "out/manifest.spare.json", "out/inputs.spare.parquet", "out/README.md",
    }  # fmt: skip
    with pytest.raises(UsageError, match="cannot go on with these images"):
        open_output(f"s3://{bucket}/out", PLAN, [Source("/x.jpg", "x.jpg")])


def test_two_machines_that_begin_at_once_agree(
    bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url, outcomes = f"s3://{bucket}/out", []
    other = [Source(f"/photos/{k}.jpg", f"{k}.jpg") for k in "abc"]

    def begin(sources: list[Source], folder: ObjectFolder) -> None:
        try:
            with folder.opening():
                pass
            open_output(url, PLAN, sources)
            outcomes.append("begun")
        except UsageError as error:
            outcomes.append(str(error))

    folders = []
    for machine in ("one", "two"):
        # Another cache is another machine: they see each other through the store alone.
        monkeypatch.setenv("SA_ENGINE_CACHE", str(tmp_path / machine))
        folders.append(ObjectFolder(url))
        assert folders[-1].scratch.is_relative_to(tmp_path / machine)
    threads = [
        threading.Thread(target=begin, args=pair)
        for pair in zip((SOURCES, other), folders, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("begun") == 1
    assert sum("cannot go on with these images" in each for each in outcomes) == 1
    names = pq.read_table(io.BytesIO(objects(bucket)["out/inputs.parquet"]))["name"].to_pylist()
    manifest = Dataset(url, allow_incomplete=True).manifest
    assert len(names) == 3
    assert [p.kind for p in verify(url) if p.file == "inputs.parquet"] == []
    assert manifest.num_images == 3


class Machines:
    """Two machines that share a store and nothing else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
        self._monkeypatch, self._base = monkeypatch, base

    def be(self, name: str) -> None:
        self._monkeypatch.setenv("SA_ENGINE_CACHE", str(self._base / name))


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machines:
    return Machines(monkeypatch, tmp_path)


def test_a_shard_that_another_machine_holds_is_left_to_it(bucket: str, machines: Machines) -> None:
    url = f"s3://{bucket}/out"
    machines.be("one")
    open_output(url, PLAN, SOURCES)
    lease = claim(url, 0)
    assert lease is not None
    machines.be("two")
    assert claim(url, 0) is None
    (holder,) = holders(url)
    assert (holder.shard_index, holder.is_alive) == (0, True)
    machines.be("one")
    assert [each.is_alive for each in holders(url)] == [True]
    lease.check()
    lease.release()
    machines.be("two")
    assert [each.is_alive for each in holders(url)] == [False]
    successor = claim(url, 0)
    assert successor is not None
    successor.release()


def test_a_machine_that_is_silent_loses_its_shard_and_hears_of_it(
    bucket: str, machines: Machines
) -> None:
    url = f"s3://{bucket}/out"
    machines.be("one")
    open_output(url, PLAN, SOURCES)
    asleep = claim(url, 0, beat_s=0.7)
    assert asleep is not None
    machines.be("two")
    assert claim(url, 0, stale_s=0.3) is None  # first seen
    assert claim(url, 0, stale_s=3600) is None  # seen again, not for long enough
    successor = None
    for _ in range(40):
        successor = successor or claim(url, 0, stale_s=0.0)
    assert successor is not None
    threading.Event().wait(1.5)
    with pytest.raises(DatasetError, match="another worker has taken over shard 0"):
        asleep.check()
    asleep.release()
    successor.check()
    successor.release()


def test_a_dead_process_of_this_machine_is_replaced_at_once(bucket: str, tmp_path: Path) -> None:
    shared = SharedScratch(Place("s3", bucket, "out/.work"))
    token = shared_claims.own_token(tmp_path)
    assert shared_claims.own_token(tmp_path) == token != shared_claims.own_token(tmp_path / "..")
    first = shared_claims.claim_shared(shared, "sa_000000", token)
    assert first is not None
    assert shared_claims.claim_shared(shared, "sa_000000", "another") is None
    again = shared_claims.claim_shared(shared, "sa_000000", token)
    assert again is not None and shared.names() == ["sa_000000.lease.2"]
    first.release(done=True)
    assert shared.names() == ["sa_000000.lease.2"]
    again.release(done=True)
    assert shared.names() == []


def test_of_many_that_claim_at_once_one_succeeds(bucket: str) -> None:
    place = Place("s3", bucket, "claim")
    start, won = threading.Barrier(8), []

    def race(number: int) -> None:
        start.wait()
        if object_store.create(place, str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=race, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The server of these tests looks and writes in two steps; what stands there is one of theirs.
    assert won and object_store.read(place) in {str(k).encode() for k in won}
    assert not object_store.create(place, b"late")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, r"cannot reach the store of s3://.*AWS_ENDP"),
        ({"AWS_ACCESS_KEY_ID": ""}, r"no credentials for s3://.*set AWS_ACCESS_KEY_ID"),
        ({"AWS_PROFILE": "nobody"}, r"no credentials for s3://.*\(nobody\)"),
    ],
)
def test_ways_that_lead_nowhere(
    bucket: str, change: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in change.items():
        if value:
            monkeypatch.setenv(name, value)
        else:
            monkeypatch.delenv(name)
            monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises((DatasetError, UsageError), match=message):
        Dataset(f"s3://{bucket}/set")


def test_missing_buckets_and_refused_credentials(bucket: str, object_server: ObjectServer) -> None:
    for use in (Dataset, verify, lambda url: open_output(url, PLAN, SOURCES)):
        with pytest.raises(UsageError, match="there is no bucket 'nobodys' for s3://nobodys/x"):
            use("s3://nobodys/x")
    with pytest.raises(UsageError, match="it has no manifest"):
        Dataset(f"s3://{bucket}/nothing")
    with pytest.raises(UsageError, match="names no bucket"):
        Dataset("s3:///x")
    object_server.demand_credentials(of_all=True)
    for use in (Dataset, verify, lambda url: open_output(url, PLAN, SOURCES)):
        with pytest.raises(UsageError, match=r"refuses the credentials .*\(InvalidAccessKeyId\)"):
            use(f"s3://{bucket}/x")


def test_a_store_that_may_be_read_and_not_written(
    bucket: str, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"s3://{bucket}/x"
    open_output(url, PLAN, SOURCES)
    iam = boto3.client("iam")
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    object_server.demand_credentials(of_all=True)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    folder = open_folder(url)
    assert "manifest.json" in folder.names() and len(Dataset(url, allow_incomplete=True)) == 0
    for write in (lambda: folder.write("y", b""), lambda: open_output(url, PLAN, SOURCES)):
        with pytest.raises(DatasetError, match="give no permission: get write permission there"):
            write()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(UsageError, match=r"refuses the credentials .*SignatureDoesNotMatch"):
        folder.read("manifest.json")


def test_a_store_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "gs", "no_such_package")
    with pytest.raises(UsageError, match=r"pip install 'sa-engine\[gs\]'"):
        open_folder("gs://bucket/x").names()


def test_local_folders_share_their_scratch(tmp_path: Path) -> None:
    assert LocalFolder(tmp_path).shared is None
