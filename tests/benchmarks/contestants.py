"""The servers that are compared. Each is started fresh, on local disk, as it ships."""

import base64
import contextlib
import functools
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import psutil

from registry_core.machine.generations import Generations
from registry_core.machine.processes import end, spawn
from registry_core.wiring.supervisor.ports import free_port
from tests.benchmarks import measuring, programs
from tests.support.minio import Minio
from tests.support.plugins import with_policies
from tests.support.waiting import wait_until

START_WITHIN_S = 120.0
STOP_WITHIN_S = 60.0
REST_S, REST_SHARE, REST_WITHIN_S = 1.0, 0.1, 60.0
PROJECT = "bench"


class Contestant:
    """A server on a free port, with a folder and a log of its own."""

    name = ""
    probe = "/v2/"
    _stop_signal = signal.SIGTERM

    def __init__(self, work: Path) -> None:
        self.folder = work / self.name.replace(":", "-")
        self.folder.mkdir(parents=True)
        self.log_path = self.folder.with_suffix(".log")
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def root(self) -> psutil.Process:
        """The process above all others of the server."""
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def start(self) -> None:
        """Start it; it answers when this returns."""
        with self.log_path.open("ab") as log:
            self._process = spawn(self._command(), death_signal=self._stop_signal, env=self._environment(), log=log)
        wait_until(self._answers, what=f"{self.name} answers", within_s=START_WITHIN_S)

    def stop(self) -> None:
        """End it as an init system does."""
        if self._process is not None:
            end(self._process, steps=[(self._stop_signal, STOP_WITHIN_S)])
            self._process = None

    def restart(self) -> None:
        """Stop and start, on the same content."""
        self.stop()
        self.start()
        self.settle()

    def settle(self) -> None:
        """Wait until the server, started or loaded just now, hardly works for a second."""
        wait_until(self._is_at_rest, what=f"{self.name} is at rest", within_s=REST_WITHIN_S)

    def headers(self, *scopes: str) -> dict[str, str]:
        """The request headers that let one do what `scopes` (as in tokens) say."""
        return {}

    def sign_in(self) -> list[str]:
        """How the load generator is told to sign in."""
        return ["-url", self.url]

    def workers(self) -> list[psutil.Process]:
        """The processes that hold what clients send."""
        return [self.root]

    def pin(self, cores: Iterable[int]) -> None:
        """Let the server, every thread of it, run on `cores` alone."""
        allowed = set(cores)
        for process in measuring.tree(self.root):
            with contextlib.suppress(psutil.NoSuchProcess):
                for thread in process.threads():
                    with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                        os.sched_setaffinity(thread.id, allowed)

    def _is_at_rest(self) -> bool:
        meter = measuring.CpuMeter(self.root)
        time.sleep(REST_S)
        used = meter.stop()
        return used.server_s + used.postgres_s < REST_SHARE * REST_S

    def _command(self) -> list[str | Path]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        developers_own = ("PORTOLAN_", "OTEL_", "PYTHON")
        return {name: value for name, value in os.environ.items() if not name.startswith(developers_own)}

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}: see {self.log_path}")
        try:
            urllib.request.urlopen(f"{self.url}{self.probe}", timeout=2).close()
        except urllib.error.HTTPError as error:
            return error.code < 500
        except OSError:
            return False
        return True


class Portolan(Contestant):
    """`portolan up` with its defaults: bearer tokens, access log, 2 workers, embedded Postgres and Valkey, fsync."""

    name = "portolan"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._password = f"Bench-1-{secrets.token_urlsafe(12)}"
        self.user = self.secret = ""

    def start(self) -> None:
        super().start()
        if not self.user:
            self._arrange()

    def headers(self, *scopes: str) -> dict[str, str]:
        parameters = httpx.QueryParams({"service": "harbor-registry", "scope": list(scopes)})
        answer = httpx.get(f"{self.url}/service/token", params=parameters, auth=(self.user, self.secret), timeout=60)
        return {"Authorization": f"Bearer {answer.raise_for_status().json()['token']}"}

    def basic(self) -> str:
        """What the administrator signs in with at the REST API."""
        return f"Basic {base64.b64encode(f'admin:{self._password}'.encode()).decode()}"

    def sign_in(self) -> list[str]:
        return ["-url", self.url, "-user", self.user, "-secret", self.secret]

    def workers(self) -> list[psutil.Process]:
        return next(child for child in self.root.children() if child.name() == "portolan-serve").children()

    def manage(self, code: str) -> str:
        """Run Python with Django set up, as `portolan` itself would; what it prints."""
        command = [sys.executable, "-c", f"import django; django.setup()\n{code}"]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{code}\n{done.stderr[-3000:]}")
        return done.stdout.strip()

    def generations(self) -> Generations:
        """What the processes of the server tell each other of changes by."""
        return Generations(self.folder / "run" / "generations")

    def pull_count(self) -> int:
        """How many pulls the registry has counted, of all artifacts."""
        return int(
            self.manage(
                "from django.db.models import Sum\n"
                "from registry_core.content.models import Artifact\n"
                "print(Artifact.objects.aggregate(pulls=Sum('pull_count'))['pulls'] or 0)"
            )
        )

    def _arrange(self) -> None:
        """A private project, and a robot that may pull, push and list."""
        self.user, self.secret = self.manage(
            "from projects.services import create_project\n"
            "from rbac.models import RobotPermission\n"
            "from rbac.services.robots import RobotGrant, create_robot, full_name\n"
            "from registry_core.access import of_system\n"
            f"create_project(name={PROJECT!r}, is_public=False, cause=of_system('test'))\n"
            "kinds = RobotPermission.Kind\n"
            "grants = [RobotGrant(kinds.PROJECT, 'repository', action) for action in ('pull', 'push')]\n"
            "grants.append(RobotGrant(kinds.SYSTEM, 'catalog', 'read'))\n"
            "robot, secret = create_robot(name='bench', grants=grants, cause=of_system('test'))\n"
            "print(full_name(robot), secret)"
        ).split()

    def _command(self) -> list[str | Path]:
        return [Path(sys.executable).with_name("portolan"), "up"]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {
            "DJANGO_SETTINGS_MODULE": "registry_core.wiring.settings",
            "PORTOLAN_DATA": str(self.folder),
            "PORTOLAN_PORT": str(self.port),
            "PORTOLAN_ADMIN_PASSWORD": self._password,
        }


_DISTRIBUTION = """\
version: 0.1
log: {{fields: {{service: registry}}}}
storage:
  cache: {{blobdescriptor: inmemory}}
  {store}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
  headers: {{X-Content-Type-Options: [nosniff]}}
health:
  storagedriver: {{enabled: true, interval: 10s, threshold: 3}}
"""


class Distribution(Contestant):
    """distribution v3 with the configuration that its image ships: access log, no authentication."""

    name = "v3"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._configuration = self.folder.with_suffix(".yml")
        self._configure()

    def _configure(self) -> None:
        store = f"filesystem: {{rootdirectory: {self.folder}}}"
        self._configuration.write_text(_DISTRIBUTION.format(store=store, port=self.port))

    @property
    def repositories(self) -> Path:
        """Where it keeps its repositories: a folder for each, with a folder for each tag."""
        return self.folder / "docker" / "registry" / "v2" / "repositories"

    def _command(self) -> list[str | Path]:
        return [programs.built("registry"), "serve", self._configuration]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"OTEL_TRACES_EXPORTER": "none"}


class DebianRegistry(Distribution):
    """Debian's docker-registry 2.8.2 with its configuration, but for the passwords that it asks for."""

    name = "debian"

    def _command(self) -> list[str | Path]:
        return [programs.system("docker-registry"), "serve", self._configuration]


_NGINX = """\
user {user};
worker_processes 2;
daemon off;
pid {work}/nginx.pid;
error_log {work}/nginx-error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log {work}/nginx-access.log;
    server {{
        listen 127.0.0.1:{port};
        root {files};
    }}
}}
"""


class Nginx(Contestant):
    """nginx with the settings of Debian's package, serving the files that the blobs were pushed from."""

    name = "nginx"
    probe = "/"
    _stop_signal = signal.SIGQUIT

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._configuration = work / "nginx.conf"
        user = psutil.Process().username()
        text = _NGINX.format(work=work, port=self.port, files=work / "files", user=user)
        self._configuration.write_text(text)

    def _command(self) -> list[str | Path]:
        return [programs.system("nginx"), "-c", self._configuration]


class PortolanOnS3(Portolan):
    """The same with its blobs in a MinIO of its own, to which it sends the clients."""

    name = "portolan:s3"

    def __init__(self, work: Path) -> None:
        super().__init__(work)
        self._store = _minio(self.folder)

    def start(self) -> None:
        self._store.start()
        super().start()

    def stop(self) -> None:
        super().stop()
        self._store.stop()

    @functools.cached_property
    def _store_settings(self) -> dict[str, str]:
        return self._store.environment(s3_endpoint=_endpoint(self._store))

    def _environment(self) -> dict[str, str]:
        return super()._environment() | self._store_settings


class DistributionOnS3(Distribution):
    """distribution v3 with its S3 driver on a MinIO of its own; it, too, sends the clients there."""

    name = "v3:s3"

    def __init__(self, work: Path) -> None:
        self._store: Minio | None = None
        super().__init__(work)
        self._store = _minio(self.folder)

    def start(self) -> None:
        assert self._store is not None
        self._store.start()
        self._configure()
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._store is not None:
            self._store.stop()

    @functools.cached_property
    def _store_settings(self) -> dict[str, Any]:
        assert self._store is not None
        return self._store.settings()

    def _configure(self) -> None:
        if self._store is None:
            return
        settings = self._store_settings  # the bucket that it had before a restart
        driver = (
            f"s3: {{region: us-east-1, regionendpoint: '{_endpoint(self._store)}', forcepathstyle: true, secure: false,"
            f" bucket: {settings['s3_bucket']}, accesskey: {self._store.access_key},"
            f" secretkey: {self._store.secret_key}}}"
        )
        self._configuration.write_text(_DISTRIBUTION.format(store=driver, port=self.port))


def _minio(folder: Path) -> Minio:
    home = folder.with_name(f"{folder.name}-minio")
    home.mkdir()
    return Minio(programs.built("minio"), home)


def _endpoint(store: Minio) -> str:
    """By another name than the registry's: Go's client takes its Authorization along to a host of the same name."""
    return f"http://localhost:{store.port}"


class GovernedPortolan(Portolan):
    """The same with the policies of tests/benchmarks/policies.py, which apply where `govern` says."""

    name = "portolan:policy"
    OTHER = "elsewhere"

    def govern(self, project: str, policy: str) -> None:
        """Have this policy apply in this project, and nothing anywhere else."""
        self.manage(_GOVERN.format(project=project, policy=policy))

    def _arrange(self) -> None:
        super()._arrange()
        self.manage(
            "from projects.services import create_project\n"
            "from registry_core.access import of_system\n"
            f"create_project(name={self.OTHER!r}, is_public=False, cause=of_system('test'))"
        )

    def _environment(self) -> dict[str, str]:
        packages = self.folder.with_name(f"{self.folder.name}-packages")
        return super()._environment() | with_policies(packages, "bench_policies", "tests.benchmarks.policies:register")


_GOVERN = """\
from registry_core.access import of_system
from registry_core.content.models import Project
from registry_core.content.project_policies import policies_changing
from registry_core.content.repositories import project_ref
for project in Project.objects.filter(deleted_at=None):
    applied = ["{policy}"] if project.name == "{project}" else []
    with policies_changing(
        project=project_ref(project), cause=of_system("bench"), add=applied, remove=set(project.policies) - set(applied)
    ):
        pass
"""
_ALL = (Portolan, Distribution, DebianRegistry, Nginx, PortolanOnS3, DistributionOnS3, GovernedPortolan)
KINDS: dict[str, type[Contestant]] = {kind.name: kind for kind in _ALL}
