"""What the figures were measured on: the machine, and the versions of what took part."""

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

from tests.benchmarks import programs

NOT_LOCAL = {"tmpfs", "ramfs", "nfs", "nfs4", "cifs", "overlay"}


def describe(folder: Path) -> dict[str, str]:
    """The machine, in the words of a table."""
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "disk": f"{filesystem(folder)} on {_device(folder)}",
        "system": f"{_distribution()}, Linux {platform.release()}",
        "Python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """The versions of the programs that took part."""
    registry = str(programs.built("registry"))
    return {
        "Portolan": f"{importlib.metadata.version('portolan')} ({_commit()})",
        "granian": importlib.metadata.version("granian"),
        "distribution v3": _module_version(registry),
        "docker-registry (Debian)": _package("docker-registry"),
        "nginx (Debian)": _package("nginx-light"),
        "wrk (Debian)": _package("wrk"),
        "Go": _line("go", "version"),
    }


def filesystem(folder: Path) -> str:
    """The type of the file system that `folder` is on."""
    return _mount(folder).fstype


def _device(folder: Path) -> str:
    return _mount(folder).device


def _mount(folder: Path) -> psutil._ntuples.sdiskpart:
    parts = psutil.disk_partitions(all=True)
    over = [part for part in parts if folder.resolve().is_relative_to(part.mountpoint)]
    return max(over, key=lambda part: len(part.mountpoint))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")


def _commit() -> str:
    return _line("git", "-C", str(programs.HERE), "describe", "--always", "--dirty")


def _module_version(program: str) -> str:
    shown = subprocess.run(["go", "version", "-m", program], capture_output=True, text=True, check=True).stdout
    needle = "github.com/distribution/distribution/v3"
    return next((line.split()[2] for line in shown.splitlines() if needle in line and "mod" in line), "unknown")


def _package(name: str) -> str:
    return _line("dpkg-query", "-W", "-f", "${Version}", name) or "not from a package"


def _line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()
