"""Another site's pages, in a real browser that has Basic credentials for the registry, change nothing there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from playwright.sync_api import Browser

from tests.support.people import admin, api_of
from tests.support.server import Server

FORM = """<!doctype html><form method="post" enctype="text/plain" action="{url}/api/v2.0/users">
<input name='{{"username":"{name}","password":"Portolan-1","email":"{name}@example.org","realname":"' value='"}}'>
</form><script>document.forms[0].submit()</script>"""
FETCH = """<!doctype html><script>
fetch("{url}/api/v2.0/users", {{method: "POST", mode: "no-cors", credentials: "include",
  body: '{{"username":"{name}","password":"Portolan-1","email":"{name}@example.org","realname":"x"}}'}})
  .finally(() => document.title = "sent")
</script>"""


@pytest.fixture
def evil() -> Iterator[HTTPServer]:
    """A site of another origin; what its page is, the test says."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = str(self.server.page).encode()  # type: ignore[attr-defined]
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            return

    site = HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield site
    site.shutdown()
    site.server_close()


@pytest.mark.parametrize("page", [FORM, FETCH], ids=["a form", "a script"])
def test_a_page_of_another_site_makes_no_user(
    chromium: Browser, server: Server, evil: HTTPServer, unique: str, page: str
) -> None:
    credentials = {"username": admin(server).name, "password": admin(server).password}
    context = chromium.new_context(http_credentials=credentials)  # type: ignore[arg-type]
    shown = context.new_page()
    shown.goto(f"{server.url}/api/v2.0/users/current")
    evil.page = page.format(url=server.url, name=unique)  # type: ignore[attr-defined]
    with shown.expect_request(f"{server.url}/api/v2.0/users") as sent:
        shown.goto(f"http://127.0.0.1:{evil.server_port}/")
    answer = sent.value.response()
    assert answer is None or answer.status in {401, 403}
    context.close()
    with api_of(server, admin(server)) as api:
        assert api.get("users", params={"q": f"username={unique}"}).json() == []


def test_a_browser_is_not_asked_for_a_password_by_the_api(chromium: Browser, server: Server) -> None:
    context = chromium.new_context()
    answer = context.new_page().goto(f"{server.url}/api/v2.0/users/current")
    assert answer is not None
    assert (answer.status, answer.headers.get("www-authenticate")) == (401, None)
    context.close()
