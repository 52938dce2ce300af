"""Uploads against a model: any order of starting, appending, asking, finishing and cancelling."""

from __future__ import annotations

import secrets
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, rule, run_state_machine_as_test

from tests.distribution.client import Client, digest_of
from tests.distribution.conftest import ALICE
from tests.support.extent import IS_FULL

chunks = st.binary(min_size=2, max_size=3000)


def make_machine(client: Client) -> type[RuleBasedStateMachine]:
    class Uploads(RuleBasedStateMachine):
        """The model of an upload is the bytes that it has; of a finished or cancelled one, that it is gone."""

        uploads = Bundle("uploads")
        gone = Bundle("gone")

        def __init__(self) -> None:
            super().__init__()
            self.content: dict[str, bytes] = {}
            client.repository = f"depot/m{secrets.token_hex(4)}"

        @rule(target=uploads)
        def start(self) -> str:
            location = str(client.start_upload().headers["location"])
            self.content[location] = b""
            return location

        @rule(location=uploads, chunk=chunks, has_range=st.booleans())
        def append(self, location: str, chunk: bytes, has_range: bool) -> None:
            at = len(self.content[location])
            headers = {"content-range": f"{at}-{at + len(chunk) - 1}"} if has_range else {}
            assert client.http.patch(location, content=chunk, headers=headers).status_code == 202
            self.content[location] += chunk

        @rule(location=uploads, chunk=chunks, gap=st.integers(-4000, 4000).filter(bool))
        def append_elsewhere(self, location: str, chunk: bytes, gap: int) -> None:
            at = max(0, len(self.content[location]) + gap)
            if at == len(self.content[location]):
                return
            headers = {"content-range": f"{at}-{at + len(chunk) - 1}"}
            assert client.http.patch(location, content=chunk, headers=headers).status_code == 416

        @rule(location=uploads)
        def ask(self, location: str) -> None:
            answer = client.http.get(location)
            assert answer.status_code == 204
            assert answer.headers["range"] == f"0-{max(0, len(self.content[location]) - 1)}"

        @rule(target=gone, location=consumes(uploads), last=st.just(b"") | chunks)
        def finish(self, location: str, last: bytes) -> str:
            content = self.content.pop(location) + last
            answer = client.http.put(location, params={"digest": digest_of(content)}, content=last)
            assert answer.status_code == 201
            assert client.get(f"blobs/{digest_of(content)}").content == content
            return location

        @rule(target=gone, location=consumes(uploads), last=chunks)
        def finish_with_a_wrong_digest(self, location: str, last: bytes) -> str:
            wrong = digest_of(self.content.pop(location) + last + b"more")
            assert client.http.put(location, params={"digest": wrong}, content=last).status_code == 400
            assert client.head(f"blobs/{wrong}").status_code == 404
            return location

        @rule(target=gone, location=consumes(uploads))
        def cancel(self, location: str) -> str:
            del self.content[location]
            assert client.http.delete(location).status_code == 204
            return location

        @rule(location=gone, chunk=chunks)
        def use_what_is_gone(self, location: str, chunk: bytes) -> None:
            assert client.http.get(location).status_code == 404
            assert client.http.patch(location, content=chunk).status_code == 404

    return Uploads


@pytest.mark.slow
def test_uploads_do_what_their_model_does(clients: Callable[..., Client]) -> None:
    run_state_machine_as_test(
        make_machine(clients(ALICE)),
        settings=settings(
            max_examples=25 if IS_FULL else 8,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
