"""The programs that take part: from the system's packages, or built with Go into the cache outside the clone."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "docker-registry": "docker-registry", "openssl": "openssl"}
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portolan"


class Missing(Exception):
    """Something that the benchmarks need is not here; the message says how to get it."""


def install_missing() -> None:
    """Install the system's packages that are missing; as anyone but root, raise Missing with the command."""
    missing = [package for program, package in PACKAGES.items() if _found(program) is None]
    if not missing:
        return
    command = ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Missing(f"please install first: sudo {' '.join(command)}")
    subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdout=sys.stderr, check=True)


def system(name: str) -> str:
    """The path of a program from the system's packages. Raises Missing."""
    found = _found(name)
    if found is None:
        raise Missing(f"{name} is not installed: it is in the package {PACKAGES.get(name, name)}")
    return found


@functools.cache
def built(name: str) -> Path:
    """A program that tests/tools/build.sh builds for the benchmarks."""
    script = HERE.parent / "tools" / "build.sh"
    done = subprocess.run([str(script), "--peers"], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1]) / name


@functools.cache
def loadgen() -> Path:
    """The load generator, built when its source has changed."""
    folder = HERE / "loadgen"
    sources = sorted([*folder.glob("*.go"), folder / "go.mod"])
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    program = CACHE / "tools" / f"loadgen-{version}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        unfinished = program.with_suffix(f".{os.getpid()}")
        environment = {**os.environ, "CGO_ENABLED": "0"}
        command = ["go", "build", "-buildvcs=false", "-o", str(unfinished), "."]
        subprocess.run(command, cwd=folder, env=environment, check=True)
        unfinished.rename(program)
    return program


def _found(name: str) -> str | None:
    return shutil.which(name, path=_SYSTEM_PATH)
