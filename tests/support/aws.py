"""Where AWS gives programs their credentials: the metadata service of an instance, and an identity provider of tokens.

Both are small servers written after the documentation ("Use the Instance Metadata Service", version 2; OpenID Connect
Discovery 1.0); the credentials are real ones, of a real store.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CREDENTIALS = "/latest/meta-data/iam/security-credentials/"
ROLE = "registry"
LIFE = timedelta(hours=1)


class _Endpoint:
    """A small HTTP server on a free port; `answer(method, path, headers)` gives status and body."""

    def __init__(self) -> None:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def _serve(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, body = endpoint.answer(self.command, self.path, headers)
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_PUT = _serve

            def log_message(self, format: str, *arguments: object) -> None:
                """The tests have their own."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        raise NotImplementedError


class InstanceMetadata(_Endpoint):
    """IMDSv2: a session's token by PUT, and with it the credentials of the instance's role.

    `issue` makes them: a mapping with AccessKeyId, SecretAccessKey and SessionToken. `issued`: how often it did.
    """

    def __init__(self, issue: Callable[[], dict[str, str]]) -> None:
        super().__init__()
        self._issue = issue
        self._sessions: set[str] = set()
        self.issued = 0

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        if method == "PUT" and path == "/latest/api/token" and "x-aws-ec2-metadata-token-ttl-seconds" in headers:
            session = secrets.token_urlsafe(24)
            self._sessions.add(session)
            return 200, session.encode()
        if headers.get("x-aws-ec2-metadata-token") not in self._sessions:
            return 401, b""
        if path == CREDENTIALS:
            return 200, ROLE.encode()
        return (200, self._credentials()) if path == CREDENTIALS + ROLE else (404, b"")

    def _credentials(self) -> bytes:
        self.issued += 1
        made, now = self._issue(), datetime.now(UTC)
        return json.dumps(
            {
                "Code": "Success",
                "LastUpdated": f"{now:%Y-%m-%dT%H:%M:%SZ}",
                "Type": "AWS-HMAC",
                "AccessKeyId": made["AccessKeyId"],
                "SecretAccessKey": made["SecretAccessKey"],
                "Token": made["SessionToken"],
                "Expiration": f"{now + LIFE:%Y-%m-%dT%H:%M:%SZ}",
            }
        ).encode()


class IdentityProvider(_Endpoint):
    """Signs tokens for workloads (RS256) and shows the key, as a cluster does for its service accounts."""

    client_id = "store"

    def __init__(self) -> None:
        super().__init__()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.discovery_url = f"{self.url}/.well-known/openid-configuration"

    def token(self, subject: str) -> str:
        """A token for one hour."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": self.client_id, "sub": subject, "iat": now, "exp": now + 3600}
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        signed = ".".join(_base64(json.dumps(part).encode()) for part in (head, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_base64(signature)}"

    def answer(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        documents: dict[str, dict[str, Any]] = {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "/keys": {"keys": [self._public_key()]},
        }
        return (200, json.dumps(documents[path]).encode()) if path in documents else (404, b"")

    def _public_key(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (_base64(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e))
        return {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": modulus, "e": exponent}


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
