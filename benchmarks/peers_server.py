"""Label Studio's own server: what it makes of exports, and what comes back from it."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sa_engine.dataset.manifest import Manifest, open_output
from sa_engine.dataset.reader import Dataset
from sa_engine.dataset.records import ImageRecord, Stage
from sa_engine.dataset.shards.writer import ShardWriter
from sa_engine.dataset.sources.listing import Source, SourceList
from sa_engine.errors import UsageError
from sa_engine.pipelines.export import ExportRun, OutFormat, run_export
from sa_engine.pipelines.stages.manual import ImportRun, run_import

TOKEN = "0123456789abcdef0123456789abcdef01234567"
STARTS_WITHIN_S = 900


class Server:
    """A running server, spoken to by its HTTP interface."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, content: Any = None) -> Any:
        """An answer's JSON. Ends the program with what the server says if it refuses."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if content is None else json.dumps(content).encode(),
            headers={"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                data = answer.read()
        except urllib.error.HTTPError as error:
            said = error.read()[:500].decode("utf-8", "replace")
            raise SystemExit(f"{method} {path}: HTTP {error.code}: {said}") from error
        return json.loads(data) if data else None


@contextlib.contextmanager
def running(python: str, data: Path) -> Iterator[Server]:
    """A server with an empty data base on a free port of this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LABEL_STUDIO_BASE_DATA_DIR": str(data),
        "LABEL_STUDIO_USERNAME": "someone@example.org",
        "LABEL_STUDIO_PASSWORD": "some-password-1",
        "LABEL_STUDIO_USER_TOKEN": TOKEN,
        "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        "COLLECT_ANALYTICS": "false",
        "LATEST_VERSION_CHECK": "false",
        "DJANGO_DB": "sqlite",
    }
    command = [str(Path(python).with_name("label-studio")), "start", "--no-browser"]
    command += ["--port", str(port), "--internal-host", "127.0.0.1"]
    with (data / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        server = Server(port)
        _wait(server, process, data / "server.log")
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < until:
        try:
            server.ask("GET", "/api/projects/")
            return
        except (OSError, urllib.error.URLError):
            if process.poll() is not None:
                break
            time.sleep(2)
    raise SystemExit(f"Label Studio did not start:\n{log.read_text()[-3000:]}")


def rounds_of_label_studio(dataset: Dataset, python: str, work: Path) -> list[str]:
    """Lines of what the server makes of people's masks, and of proposals.

    dataset: of people's masks; the same masks are proposals in the second part.
    """
    data = work / "server"
    data.mkdir()
    proposals = _as_proposals(dataset, work / "proposals")
    with running(python, data) as server:
        version = server.ask("GET", "/api/version")["release"]
        lines = [f"Label Studio {version}, over HTTP."]
        lines += _people(server, dataset, work)
        lines += _proposals(server, proposals, work)
    return lines


def _import_there(server: Server, export: Path) -> tuple[int, int]:
    """The project that an export's tasks are in, and how many tasks it has."""
    config = (export / "label_config.xml").read_text()
    project = server.ask("POST", "/api/projects/", {"title": "an export", "label_config": config})[
        "id"
    ]
    tasks = json.loads((export / "tasks.json").read_bytes())
    for start in range(0, len(tasks), 10):
        server.ask("POST", f"/api/projects/{project}/import", tasks[start : start + 10])
    found = server.ask("GET", f"/api/projects/{project}/")
    return project, found["task_number"]


def _export_there(server: Server, project: int, out: Path) -> Path:
    path = f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true"
    out.write_text(json.dumps(server.ask("GET", path)))
    return out


def _people(server: Server, dataset: Dataset, work: Path) -> list[str]:
    export = work / "people"
    kind = OutFormat.LABEL_STUDIO
    run_export(ExportRun(dataset=dataset.folder.url, out=export, format=kind))
    project, num_tasks = _import_there(server, export)
    back = _export_there(server, project, work / "people.json")
    again = ImportRun(annotations=back, images=str(export / "images"), out=work / "people-again")
    run_import(again)
    before = [m.segmentation for record in dataset for m in record.annotations]
    after = {m.segmentation for record in Dataset(again.out) for m in record.annotations}
    same = sum(mask in after for mask in before)
    counted = f"{same} of {len(before)} masks come back to the pixel"
    return [f"* People's masks: {num_tasks} tasks taken; {counted}."]


def _proposals(server: Server, proposals: Dataset, work: Path) -> list[str]:
    export = work / "proposed"
    kind = OutFormat.LABEL_STUDIO
    run_export(ExportRun(dataset=proposals.folder.url, out=export, format=kind))
    project, num_tasks = _import_there(server, export)
    found = server.ask("GET", f"/api/projects/{project}/")
    queue = server.ask("GET", f"/api/projects/{project}/next")
    lines = [
        f"* Proposals: {num_tasks} tasks taken, {found['finished_task_number']} of them finished; "
        f"the queue offers task {queue['id']}, with {len(queue['predictions'])} prediction."
    ]
    untouched = _export_there(server, project, work / "untouched.json")
    run = ImportRun(
        annotations=untouched,
        images=str(export / "images"),
        out=work / "untouched-again",
        proposals=proposals.folder.url,
    )
    try:
        run_import(run)
        lines.append("* The untouched export was taken for answers.")
    except UsageError as error:
        lines.append(f"* Untouched, it is no answer: {str(error).partition(':')[0]}.")
    # What the page sends when somebody submits the proposals of one task as they are.
    answer = {"result": queue["predictions"][0]["result"], "lead_time": 5}
    server.ask("POST", f"/api/tasks/{queue['id']}/annotations/", answer)
    answered = _export_there(server, project, work / "answered.json")
    report = run_import(replace(run, annotations=answered, out=work / "answered-again")).report
    said = (report or {}).get("proposals", {})
    lines.append(
        f"* One task submitted as it was: {said.get('kept')} kept of {said.get('shown')} shown on "
        f"{said.get('images', {}).get('returned')} image, "
        f"{said.get('images', {}).get('not_returned')} images unanswered."
    )
    return lines


def _as_proposals(dataset: Dataset, out: Path) -> Dataset:
    """The same masks as a model would have proposed them."""
    records = [record for record in dataset if record.annotations][:8]
    sources = SourceList.of([Source(record.source, record.source) for record in records])
    manifest = open_output(out, Manifest(stage=None, num_images=len(records)), sources)
    with ShardWriter(out, 0, manifest=manifest) as writer:
        for image_id, record in enumerate(records, start=1):
            masks = tuple(
                replace(mask, stage=Stage.SEMI_AUTOMATIC, predicted_iou=0.9, attributes={})
                for mask in record.annotations
            )
            changed: ImageRecord = replace(
                record,
                image_id=image_id,
                file_name=f"sa_{image_id}.{record.file_name.rpartition('.')[2]}",
                annotations=masks,
                attributes={},
            )
            writer.add(changed, dataset.read_image_bytes(record))
        writer.finish()
    return Dataset(out)
