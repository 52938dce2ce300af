"""Access lines: one for each request, whatever stands in what clients write."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from registry_core import logs

HOSTILE = ["a\nb", "a\x00b", "a\x1b[2Jb", "a\x7fb", "a\x85b", "a\u2028b", "ä\u2029b"]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[[], str]:
    """Flushes the access lines; what was written."""
    monkeypatch.setattr(logs._Output, "is_access_logged", True)
    monkeypatch.setattr(logs._Output, "pending", [])

    def flush() -> str:
        logs.flush_access()
        return capsysbinary.readouterr().err.decode()

    return flush


def access(path: str, user: str) -> None:
    logs.access(
        request_id="1", method="GET", path=path, status=200, size_bytes=1, duration_ms=1, client="192.0.2.1", user=user
    )


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("is_json", [True, False])
def test_control_characters_are_escaped(
    written: Callable[[], str], monkeypatch: pytest.MonkeyPatch, text: str, is_json: bool
) -> None:
    monkeypatch.setattr(logs._Output, "is_json", is_json)
    access(f"/v2/{text}", f"user {text}")
    line, end = written().split("\n")
    assert end == ""
    escaped = text.translate({code: f"\\x{code:02x}" for code in (0, 0x1B, 0x7F, 0x85)} | {10: "\\n"})
    escaped = escaped.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if is_json:
        event = json.loads(line)
        assert (event["path"], event["user"]) == (f"/v2/{escaped}", f"user {escaped}")
    else:
        assert f"GET /v2/{escaped} " in line
        assert f"user=user {escaped} " in line


def test_what_is_harmless_stays_as_it_is(written: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs._Output, "is_json", True)
    access('/v2/"quoted"\\ä', "jürgen")
    event = json.loads(written())
    assert (event["path"], event["user"]) == ('/v2/"quoted"\\ä', "jürgen")


def test_flushing_tells_whether_there_was_anything(written: Callable[[], str]) -> None:
    """For the server to look seldom while nobody asks for anything."""
    access("/v2/", "ada")
    assert (logs.flush_access(), logs.flush_access()) == (True, False)
