"""Every combination of Host, Origin, type and token that may come, and what is served."""

import pytest

from sa_engine.annotate.guard import Allowed, annotator_of, refusal

ALLOWED = Allowed.of("127.0.0.1", 8765, "https://label.example.org/")
HOST = {"host": "127.0.0.1:8765"}
JSON = {"content-type": "application/json"}
UTF8 = "application/json; charset=utf-8"
OWN = "http://127.0.0.1:8765"
REBOUND = "http://evil.test:8765"
PROXY = "label.example.org"


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("GET", {**HOST}, None),
        ("GET", {"host": "localhost:8765"}, None),
        ("GET", {"host": "[::1]:8765"}, None),
        ("GET", {"host": PROXY}, None),
        ("GET", {}, "wrong-host"),
        ("GET", {"host": "127.0.0.1"}, "wrong-host"),
        ("GET", {"host": "127.0.0.1:8766"}, "wrong-host"),
        ("GET", {"host": "evil.test:8765"}, "wrong-host"),
        # Rebound names: Origin equals Host, and neither is ours.
        ("POST", {"host": "evil.test:8765", "origin": REBOUND, **JSON}, "wrong-host"),
        ("GET", {**HOST, "origin": "http://evil.test"}, "wrong-origin"),
        ("GET", {**HOST, "sec-fetch-site": "cross-site"}, "wrong-site"),
        ("GET", {**HOST, "sec-fetch-site": "same-site"}, "wrong-site"),
        ("GET", {**HOST, "sec-fetch-site": "none"}, None),
        ("POST", {**HOST, **JSON}, "wrong-origin"),
        ("POST", {**HOST, "origin": "null", **JSON}, "wrong-origin"),
        ("POST", {**HOST, "origin": "http://127.0.0.1:9", **JSON}, "wrong-origin"),
        ("POST", {**HOST, "origin": OWN, "content-type": "text/plain"}, "wrong-type"),
        ("POST", {**HOST, "origin": OWN}, "wrong-type"),
        ("PUT", {**HOST, "origin": OWN, "content-type": UTF8}, None),
        ("DELETE", {**HOST, "origin": OWN, **JSON}, None),
        ("POST", {"host": PROXY, "origin": f"https://{PROXY}", **JSON}, None),
        ("POST", {"host": PROXY, "origin": f"http://{PROXY}", **JSON}, "wrong-origin"),
    ],
)
def test_what_is_refused(method: str, headers: dict[str, str], code: str | None) -> None:
    refused = refusal(method, headers, ALLOWED)
    assert (refused and refused.code) == code


def test_a_host_of_ones_own() -> None:
    allowed = Allowed.of("192.168.1.5", 80)
    assert refusal("GET", {"host": "192.168.1.5"}, allowed) is None
    assert refusal("GET", {"host": "192.168.1.5:80"}, allowed) is None
    assert "[fe80::1]:9" in Allowed.of("fe80::1", 9).hosts


TOKENS = {"anna": "a" * 43, "bob": "b" * 43}


@pytest.mark.parametrize(
    ("header", "annotator"),
    [
        (f"Bearer {'a' * 43}", "anna"),
        (f"bearer {'b' * 43}", "bob"),
        (f"Bearer {'a' * 42}", None),
        (f"Basic {'a' * 43}", None),
        ("Bearer", None),
        ("", None),
        ("Bearer é", None),
    ],
)
def test_whose_token_it_is(header: str, annotator: str | None) -> None:
    assert annotator_of(header, TOKENS) == annotator
