"""What the engine never does, whatever it is given: run code, leave its folders, fetch."""

import ast
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import Stage
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.source_list import Source
from sa_engine.errors import TrainingError, UsageError
from sa_engine.model.bundled import DEFAULT_MODEL
from sa_engine.model.checkpoint import read_card
from sa_engine.model.weights import bundled_model
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import
from sa_engine.training.state import load_state
from tests.dataset.conftest import mask, png, png_record
from tests.formats.readers import test_coco
from tests.support.drawing import save_picture
from tests.test_house import ROOT, imported_modules, source_files

RUN_CODE = {"cPickle", "dill", "joblib", "marshal", "shelve", "scipy.io"}
FETCH = {"ftplib", "http.client", "httpx", "requests", "socket", "urllib.request", "urllib3"}
STORES = {"fsspec"}
KNOWN = {
    "sa_engine/dataset/folder/object_store.py": STORES,
    # A pair of sockets to its own child process; a server that listens.
    "sa_engine/annotate/models/encoding.py": {"socket"},
    "sa_engine/annotate/server.py": {"socket"},
}


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file by its name as written ("torch.load")."""
    tree = ast.parse(path.read_text("utf-8"))
    return [(ast.unparse(n.func), n) for n in ast.walk(tree) if isinstance(n, ast.Call)]


def test_no_pickle_is_executed() -> None:
    loads = 0
    for path in source_files():
        for name, call in calls(path):
            options = {each.arg: ast.unparse(each.value) for each in call.keywords}
            if name == "torch.load":
                assert options.get("weights_only") == "True", path
                loads += 1
            if ast.unparse(call) != "exec('')":  # of nothing, to forget an interrupt
                assert name not in ("eval", "exec", "np.load", "numpy.load", "yaml.load"), path
            assert not name.startswith(("pickle.load", "pickle.Unpickler")), path
            assert "allow_pickle" not in options, path
    assert loads == 3  # so that the search cannot pass by finding nothing


def test_no_module_that_runs_code_or_fetches_is_used() -> None:
    for path in source_files():
        allowed = KNOWN.get(path.relative_to(ROOT).as_posix(), set())
        modules = set(imported_modules(path)) - allowed
        assert not modules & (RUN_CODE | FETCH | STORES), path


def test_xml_is_read_by_hardened_parsers_alone() -> None:
    # Types, and spelling for writing; `tests/formats/readers/test_cvat.py` has the bombs.
    harmless = {"Element", "ParseError", "escape", "quoteattr"}
    for path in source_files():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(each.name.startswith("xml.") for each in node.names), path
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("xml."):
                names = {each.name for each in node.names}
                # expat itself reads nothing else and refuses every DTD, see `Scan`.
                assert names <= harmless or (path.name, names) == ("cvat_scan.py", {"expat"}), path


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._path,))


def test_code_in_a_training_state_is_not_run(tmp_path: Path) -> None:
    torch.save({"fingerprint": Touch(tmp_path / "touched")}, tmp_path / "state.pt")
    with pytest.raises(TrainingError, match="cannot be read"):
        load_state(tmp_path / "state.pt", fingerprint="x")
    assert not (tmp_path / "touched").exists()


@pytest.fixture
def escaping(tmp_path: Path) -> Path:
    """A dataset whose images came under names that lead out of any folder."""
    names = ["../../up.png", "/tmp/absolute.png", "a/../../../b.png", "..", "C:\\..\\c.png", "\0"]
    out = tmp_path / "deep" / "deeper" / "dataset"
    plan = Manifest(stage=Stage.MANUAL, num_images=len(names))
    manifest = open_output(out, plan, [Source(f"/x/{k}", n) for k, n in enumerate(names)])
    with ShardWriter(out, 0, manifest=manifest) as writer:
        for image_id, name in enumerate(names, start=1):
            record = png_record(
                image_id,
                source=name,
                sha256="0" * 64,
                annotations=(mask(image_id),),
                attributes={"file_name": name} if image_id % 2 else {},
            )
            writer.add(record, png(image_id))
        writer.finish()
    return out


@pytest.mark.parametrize("form", list(OutFormat))
def test_an_export_stays_in_its_folder(tmp_path: Path, escaping: Path, form: OutFormat) -> None:
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    out = tmp_path / "deep" / "out"
    summary = run_export(ExportRun(dataset=escaping, out=out, format=form))
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert summary.num_images == 6 and written
    assert all(path.resolve().is_relative_to(out.resolve()) for path in written)
    assert not Path("/tmp/absolute.png").exists()


def test_names_in_annotations_reach_listed_images_alone(tmp_path: Path) -> None:
    secret = save_picture(tmp_path / "secret.png")
    save_picture(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "link.txt").symlink_to(secret)
    content: dict[str, Any] = json.loads(json.dumps(test_coco.SAMPLE))
    for image, name in zip(content["images"], ["../secret.png", str(secret)], strict=False):
        image["file_name"] = name
    (tmp_path / "instances.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="none of the"):
        run_import(
            ImportRun(
                annotations=tmp_path / "instances.json",
                images=str(tmp_path / "images"),
                out=tmp_path / "out",
            )
        )


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the network was asked for {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("a.png", "b.png"):
        save_picture(tmp_path / "images" / name)
    content: dict[str, Any] = json.loads(json.dumps(test_coco.SAMPLE))
    for image in content["images"]:
        image |= {"coco_url": "http://example.org/x.png", "flickr_url": "http://example.org/y.png"}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    out = tmp_path / "out"
    run_import(ImportRun(annotations=tmp_path / "instances.json", out=out))
    assert len(Dataset(out)) == 2
    run_export(ExportRun(dataset=out, out=tmp_path / "coco", format=OutFormat.COCO))
    assert read_card(bundled_model()).name == DEFAULT_MODEL
