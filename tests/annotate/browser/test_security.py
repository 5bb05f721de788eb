"""What other pages may do to the server: nothing; and what the page may do elsewhere: nothing."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from sa_engine.formats.work.log import read_journal
from tests.support.browser import Annotator, another_browser, need_browser
from tests.support.served import Served, serving, write_photos

Visit = Callable[..., Annotator]
WEB = Path(__file__).resolve().parents[3] / "sa_engine" / "annotate" / "web"


class Recorder(BaseHTTPRequestHandler):
    """A server without any guard, and the foreign page; it writes down what arrives."""

    arrived: ClassVar[list[tuple[str, str]]] = []
    page: ClassVar[str] = ""

    def do_GET(self) -> None:
        if self.path == "/page":
            data = self.page.encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.send_response(204)
            self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.arrived.append((self.path, self.headers.get("Content-Type") or ""))
        self.send_response(204)
        self.end_headers()

    def do_OPTIONS(self) -> None:
        self.send_response(403)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def recorder() -> Iterator[ThreadingHTTPServer]:
    Recorder.arrived.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_browser()
    photos = write_photos(tmp_path_factory.mktemp("security") / "photos", 8, (60, 80))
    name = photos / "<img src=x onerror=document.title='hurt'>.png"
    Image.new("RGB", (60, 40), (9, 99, 200)).save(name)
    out = photos.parent / "dataset"
    options: list[str | Path] = [
        "--images",
        photos,
        "--out",
        out,
        "--no-model",
        "--annotator",
        "anna",
    ]
    with serving(options) as served:
        served.work = photos.parent / "dataset.annotate"
        yield served


FOREIGN = """
const target = '%s';
await fetch(target + '/api/next', {method: 'POST', mode: 'no-cors',
  headers: {'Content-Type': 'text/plain'}, body: '{"tab": "%s"}'}).catch(() => {});
await fetch(target + '/api/next', {method: 'POST', body: '{}',
  headers: {'Content-Type': 'application/json'}}).catch(() => {});
"""
FORM = """<form method="post" enctype="text/plain" action="%s/api/next">
<input name='{"tab":"' value='x"}'></form><script>document.forms[0].submit()</script>"""
TAB = "11111111-2222-3333-4444-555555555555"


def test_names_are_text(served: Served, visit: Visit) -> None:
    anna = visit(served)
    name = anna.js("annotate.state.image.name")
    assert name.startswith("<img")
    anna.shows("#name", name)
    anna.press("g")
    anna.wait("annotate.state.screen === 'overview'")
    assert name in anna.page.inner_text("#overview")
    assert anna.page.locator("img").count() == 0
    assert anna.page.title() == "sa-engine annotate"


def test_foreign_pages_reach_an_unguarded_server_and_not_ours(
    served: Served, recorder: ThreadingHTTPServer, browser: Any
) -> None:
    own = f"http://127.0.0.1:{recorder.server_address[1]}"
    before = len(read_journal(served.work).believed())
    for site in (f"http://localhost:{recorder.server_address[1]}", own):
        page = browser.new_page()
        page.goto(f"{site}/page")
        for target in (f"http://127.0.0.1:{recorder.server_address[1]}", served.url):
            page.evaluate("async () => {" + FOREIGN % (target, TAB) + "}")
        statuses: list[int] = []
        page.on("response", lambda response, s=statuses: s.append(response.status))
        for target in (own, served.url):
            Recorder.page = FORM % target
            page.goto(f"{site}/page", wait_until="commit")
            page.wait_for_timeout(300)
        assert 403 in statuses
        page.close()
    # The unguarded one heard the plain ones, from another site and from its own.
    assert ("/api/next", "text/plain") in Recorder.arrived
    assert len([each for each in Recorder.arrived if each[1] == "text/plain"]) >= 3
    assert len(read_journal(served.work).believed()) == before


def test_a_rebound_name_is_refused(served: Served, browser: Any) -> None:
    with another_browser(browser, "--host-resolver-rules=MAP evil.test 127.0.0.1") as other:
        page = other.new_page()
        response = page.goto(f"http://evil.test:{served.port}/")
        assert response.status == 421
        body = "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'}"
        found = page.evaluate(f"async () => (await fetch('/api/next', {body})).status")
        assert found == 421


def test_everything_comes_from_the_server_and_nothing_is_violated(
    served: Served, visit: Visit
) -> None:
    violations: list[str] = []
    anna = visit(served)
    anna.page.on("console", lambda message: violations.append(message.text))
    anna.page.reload()
    anna.wait("annotate && annotate.state.image !== null")
    anna.press("b")
    anna.drag((20, 20), (30, 30))
    anna.press("Enter", "?")
    anna.page.keyboard.press("Escape")
    anna.press("g")
    anna.wait("annotate.state.screen === 'overview'")
    anna.saved()
    ours = (served.url, f"blob:{served.url}")
    assert [url for url in anna.requests if not url.startswith(ours)] == []
    assert [text for text in violations if "Content Security Policy" in text] == []


def test_the_link_leaves_the_address(served: Served, visit: Visit) -> None:
    anna = visit(served)
    assert "token" not in anna.page.url
    assert all("token" not in url and served.tokens["anna"] not in url for url in anna.requests)


@pytest.mark.parametrize("path", sorted(WEB.rglob("*.*")), ids=lambda path: path.name)
def test_nothing_of_the_page_makes_code_of_text(path: Path) -> None:
    text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "http://", "https://"):
        assert word not in text, word
