"""Fixtures that every folder of tests may use."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

RESEARCH_DATA = Path(
    os.environ.get("SA_ENGINE_RESEARCH_DATA")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)
"""Photographs with masks that may not be copied into the repository: its tests skip without."""

NO_RESEARCH_DATA = f"no research data in {RESEARCH_DATA}; SA_ENGINE_RESEARCH_DATA names the folder"


PROXIES = ("http_proxy", "https_proxy", "all_proxy", "ftp_proxy")


@dataclass(frozen=True, slots=True)
class ObjectServer:
    """A running server of the S3 protocol, and what reaches it."""

    endpoint: str
    environment: dict[str, str]

    def demand_credentials(self, *, of_all: bool) -> None:
        """Whether every request must be by a key that the server knows (it knows none)."""
        self.post("reset-auth", b"0" if of_all else b"inf")

    def post(self, what: str, data: bytes = b"") -> None:
        """Tell the server something about itself."""
        request = urllib.request.Request(
            f"{self.endpoint}/moto-api/{what}", data, {"Content-Type": "text/plain"}
        )
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
            answer.read()


@pytest.fixture(scope="session")
def object_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectServer]:
    """One server for all tests that need a store; it starts with the first of them."""
    for package in ("moto", "s3fs", "flask"):
        pytest.importorskip(package)
    # The proxies of a machine would stand between us and it.
    inherited = {k: v for k, v in os.environ.items() if k.lower() not in PROXIES}
    program = Path(__file__).with_name("support") / "object_server.py"
    log = (tmp_path_factory.mktemp("store") / "log").open("wb")
    with subprocess.Popen(
        [sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=inherited,
    ) as server:
        assert server.stdin is not None and server.stdout is not None
        port = int(server.stdout.readline())
        yield ObjectServer(
            f"http://127.0.0.1:{port}",
            {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_MAX_ATTEMPTS": "2",
                "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
            },
        )
        server.stdin.close()
        server.wait()
    log.close()


@pytest.fixture
def bucket(
    object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[str]:
    """The name of an empty bucket in a store that the environment leads to."""
    object_server.post("reset")
    for name in os.environ:
        if name.startswith("AWS_") or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    for name, value in object_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SA_ENGINE_CACHE", str(tmp_path / "cache"))
    make_bucket("photos-and-masks")
    yield "photos-and-masks"
    object_server.demand_credentials(of_all=False)


def make_bucket(name: str) -> None:
    """Make a bucket in the store that the environment leads to."""
    import s3fs  # type: ignore[import-untyped]

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem(use_listings_cache=False).call_s3("create_bucket", Bucket=name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of research photographs with masks; tests that need it skip without it."""
    if not RESEARCH_DATA.is_dir():
        pytest.skip(NO_RESEARCH_DATA)
    return RESEARCH_DATA


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that did not run for want of research data."""
    skipped = [
        report.nodeid
        for report in terminalreporter.stats.get("skipped", [])
        if NO_RESEARCH_DATA in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped, {NO_RESEARCH_DATA}:")
        for name in skipped:
            terminalreporter.write_line(f"  {name}")
