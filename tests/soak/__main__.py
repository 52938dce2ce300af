"""`make soak`: half an hour of pushes, pulls and deletes against a whole `portolan up`; memory and files must stay
flat.

Writes what it measured into docs/reliability.md. `python -m tests.soak --help` for a shorter one.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import psycopg

from registry_core.wiring.supervisor.ports import free_port
from tests.support.registry import digest_of, make_image, push_blob, put_manifest
from tests.support.server import PORTOLAN
from tests.support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEADING = "## Soak"
CLIENTS = 4
KEPT = 50
PASSWORD = f"Soak-1-{secrets.token_urlsafe(9)}"
MIB = 1 << 20


@dataclass(frozen=True)
class Sample:
    """What the registry uses at one moment."""

    at_s: float
    memory_bytes: int
    files: int
    database_bytes: int


@dataclass
class Load:
    """What the clients did; errors are answers that nobody asked for."""

    pushes: int = 0
    pulls: int = 0
    deletes: int = 0
    errors: int = 0


def main() -> int:
    """Run the soak; 0 when memory and files stayed flat and no request failed."""
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="portolan-soak-", dir=arguments.dir))
    folder.chmod(0o711)  # Postgres runs as a user of its own when this runs as root
    port = free_port()
    environment = os.environ | {
        "PORTOLAN_DATA": str(folder / "data"),
        "PORTOLAN_PORT": str(port),
        "PORTOLAN_ADMIN_PASSWORD": PASSWORD,
    }
    with (folder / "up.log").open("wb") as log:
        registry = subprocess.Popen([PORTOLAN, "up"], env=environment, stdout=log, stderr=log)
        try:
            samples, load = _soak(registry, port, folder / "data", arguments)
        finally:
            registry.send_signal(signal.SIGTERM)
            registry.wait(60)
    shutil.rmtree(folder, ignore_errors=True)
    verdict = _verdict(samples, load)
    text = _report(samples, load, verdict)
    print(text)
    if arguments.write:
        _write(text)
    return 0 if verdict == "flat" else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--dir", default="/var/tmp", help="where the registry's data lies meanwhile")
    parser.add_argument("--write", action="store_true", help="write the figures into docs/reliability.md")
    return parser.parse_args()


def _soak(
    registry: subprocess.Popen[bytes], port: int, data: Path, arguments: argparse.Namespace
) -> tuple[list[Sample], Load]:
    url = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answers(url), what="the registry answers", within_s=120)
    load, is_over = Load(), threading.Event()
    samples: list[Sample] = []
    begin_s = time.monotonic()
    interval_s = max(5.0, arguments.minutes * 60 / 60)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(_work, url, f"library/soak{number}", load, is_over) for number in range(CLIENTS)]
        while time.monotonic() - begin_s < arguments.minutes * 60:
            is_over.wait(interval_s)
            samples.append(_sample(registry.pid, data, time.monotonic() - begin_s))
            latest = samples[-1]
            print(f"{latest.at_s:6.0f} s {latest.memory_bytes // MIB} MiB {latest.files} files {load}", file=sys.stderr)
        is_over.set()
        for client in clients:
            client.result()
    return samples, load


def _work(url: str, repository: str, load: Load, is_over: threading.Event) -> None:
    kept: deque[str] = deque()
    with httpx.Client(base_url=url, auth=("admin", PASSWORD), timeout=60) as client:
        while not is_over.is_set():
            try:
                _one_round(client, repository, kept, load)
            except httpx.HTTPError:
                load.errors += 1


def _one_round(client: httpx.Client, repository: str, kept: deque[str], load: Load) -> None:
    image = make_image(layer_bytes=secrets.randbelow(512 << 10) + 1)
    for blob in image.blobs:
        push_blob(client, repository, blob)
    put_manifest(client, repository, f"v{secrets.token_hex(4)}", image)
    kept.append(image.digest)
    load.pushes += 1
    for digest in list(kept)[-5:]:
        client.get(f"/v2/{repository}/manifests/{digest}").raise_for_status()
        load.pulls += 1
    client.get(f"/v2/{repository}/blobs/{digest_of(image.blobs[1])}").raise_for_status()
    if len(kept) > KEPT:
        client.delete(f"/v2/{repository}/manifests/{kept.popleft()}").raise_for_status()
        load.deletes += 1


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/", timeout=5).status_code == 401
    except httpx.TransportError:
        return False


def _sample(pid: int, data: Path, at_s: float) -> Sample:
    """Memory (PSS) and open files of the registry's own processes; Postgres sizes its own by its settings."""
    memory, files = 0, 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            if "postgres" not in process.name():
                memory += process.memory_full_info().pss
                files += process.num_fds()
        except psutil.NoSuchProcess:
            continue
    with psycopg.connect((data / "run" / "database.url").read_text().strip()) as database:
        row = database.execute("SELECT pg_database_size(current_database())").fetchone()
    return Sample(at_s, memory, files, int(row[0]) if row else 0)


def _verdict(samples: list[Sample], load: Load) -> str:
    """Flat: what it falls back to is in the last third no more than a twentieth above that of the third before it."""
    before, after = _thirds(samples)[1:]
    grown = []
    if _floor([sample.memory_bytes for sample in after]) > _floor([sample.memory_bytes for sample in before]) * 1.05:
        grown.append("memory")
    if _floor([sample.files for sample in after]) > _floor([sample.files for sample in before]) * 1.05:
        grown.append("files")
    if load.errors:
        grown.append(f"{load.errors} errors")
    return "flat" if not grown else "not flat: " + ", ".join(grown)


def _thirds(samples: list[Sample]) -> tuple[list[Sample], list[Sample], list[Sample]]:
    third = len(samples) // 3
    return samples[:third], samples[third : 2 * third], samples[2 * third :]


def _floor(values: list[int]) -> int:
    """The lower quartile: each check of a password takes 100 MiB for a moment, and gives them back."""
    return sorted(values)[len(values) // 4] if values else 0


def _report(samples: list[Sample], load: Load, verdict: str) -> str:
    grown = samples[-1].database_bytes - samples[0].database_bytes
    floors = [_floor([sample.memory_bytes for sample in third]) // MIB for third in _thirds(samples)]
    rows = [
        f"| {sample.at_s / 60:.0f} | {sample.memory_bytes // MIB} | {sample.files} | {sample.database_bytes // MIB} |"
        for sample in samples[:: max(1, len(samples) // 6)]
    ]
    return "\n".join(
        [
            HEADING,
            "",
            f"`make soak`: {samples[-1].at_s / 60:.0f} minutes, {CLIENTS} clients, Python {platform.python_version()}, "
            f"{os.cpu_count()} cores. {load.pushes} pushes, {load.pulls} pulls, {load.deletes} deletes, "
            f"{load.errors} errors. Verdict: {verdict}. What is deleted can be brought back, and so stays in the "
            f"database until it expires: {grown / max(1, load.pushes) / 1024:.1f} KiB per push. Memory falls back to "
            f"{floors[0]}, {floors[1]} and {floors[2]} MiB in the three thirds of the time; what is above are "
            "passwords being checked once a minute, 100 MiB for each.",
            "",
            "| minutes | memory (MiB) | open files | database (MiB) |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _write(text: str) -> None:
    page = PAGE.read_text()
    head, _, rest = page.partition(f"\n{HEADING}\n")
    _, found, tail = rest.partition("\n## ")
    PAGE.write_text(f"{head.rstrip()}\n\n{text}" + (f"\n## {tail}" if found else ""))


if __name__ == "__main__":
    sys.exit(main())
