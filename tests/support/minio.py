"""A real object store for the tests: MinIO on a free port, with its objects in a folder of its own."""

import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from registry_core.config import Config
from registry_core.machine.processes import end, spawn
from registry_core.wiring.supervisor.ports import free_port
from tests.support.waiting import wait_until

START_WITHIN_S = 60.0


class Minio:
    """One MinIO. `start()` returns once it answers.

    `environment`: more of its settings. `certificates`: a folder with public.crt and private.key, to speak TLS; `ca`:
    the certificate that its clients trust then.
    """

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        certificates: Path | None = None,
        ca: Path | None = None,
    ) -> None:
        self.access_key = "portolan"
        self.secret_key = secrets.token_urlsafe(24)
        self.port = free_port()
        self.ca = ca
        self.objects = folder / "data"
        self._program = program
        self._folder = folder
        self._environment = dict(environment or {})
        self._certificates = certificates
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it printed."""
        return (self._folder / "minio.log").read_text(errors="replace")

    def start(self) -> None:
        command: list[str | Path] = [
            self._program, "server", self.objects,
            "--address", f"127.0.0.1:{self.port}", "--console-address", f"127.0.0.1:{free_port()}",
            *(("--certs-dir", self._certificates) if self._certificates else ()),
        ]  # fmt: skip
        environment = {
            "HOME": str(self._folder),
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_UPDATE": "off",
            "MINIO_BROWSER": "off",
            **self._environment,
        }
        with (self._folder / "minio.log").open("ab") as log:
            self._process = spawn(command, death_signal=signal.SIGKILL, env=environment, log=log)
        wait_until(self._answers, what=f"MinIO answers on {self.url}", within_s=START_WITHIN_S)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process, steps=[(signal.SIGTERM, 10)])

    def settings(self, *, bucket: str | None = None, **more: Any) -> dict[str, Any]:
        """Settings of a registry that keeps its blobs here; in a fresh bucket unless one is named."""
        values: dict[str, Any] = {
            "storage": "s3",
            "s3_bucket": bucket or f"b-{secrets.token_hex(6)}",
            "s3_endpoint": self.url,
            "s3_access_key": self.access_key,
            "s3_secret_key": self.secret_key,
            "s3_path_style": True,
            **({"s3_ca_file": self.ca} if self.ca else {}),
        } | more
        if bucket is None:
            self.client().create_bucket(Bucket=values["s3_bucket"])
        return values

    def environment(self, **settings: Any) -> dict[str, str]:
        """The same as variables for a server."""
        return {f"PORTOLAN_{name.upper()}": str(value) for name, value in self.settings(**settings).items()}

    def config(self, **settings: Any) -> Config:
        return Config(**self.settings(**settings))

    def client(self) -> Any:
        """A client of the store itself, to look behind the registry's back."""
        return self.service("s3")

    def service(self, name: Literal["s3", "sts"]) -> Any:
        """A client of one of its services, as its owner."""
        import boto3
        from botocore.client import Config as ClientConfig

        session = boto3.session.Session()
        return session.client(
            name, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key, config=ClientConfig(s3={"addressing_style": "path"}),
            verify=str(self.ca) if self.ca else None,
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/minio/health/ready", timeout=5, verify=False).status_code == 200  # noqa: S501
        except httpx.TransportError:
            return False
