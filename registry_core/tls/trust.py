"""How clients come to trust our CA: the files and commands, either printed or applied on this machine.

A `Step` is one file; commands follow them. The paths are those in the clients' own documentation.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes

_FILE_MODE: Final = 0o644


class Trusting(StrEnum):
    """The client that is to trust the CA."""

    DOCKER = "docker"
    PODMAN = "podman"
    CONTAINERD = "containerd"
    KUBERNETES = "kubernetes"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Step:
    """A file to write; the CA's certificate itself if `text` is None."""

    path: Path
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one kind of client needs. `notes` are for people; `commands` run after the files are written."""

    steps: list[Step]
    commands: list[list[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_for(kind: Trusting, hosts: list[str]) -> Plan:
    """What to do on a client's machine for a registry with the addresses `hosts` (`name:port`)."""
    match kind:
        case Trusting.DOCKER:
            return Plan(_per_host("/etc/docker/certs.d", hosts), notes=["Docker reads it at once, without a restart."])
        case Trusting.PODMAN:
            note = "Without root: the same below ~/.config/containers/certs.d. Also for skopeo, buildah and CRI-O."
            return Plan(_per_host("/etc/containers/certs.d", hosts), notes=[note])
        case Trusting.CONTAINERD:
            return Plan(_containerd(hosts), notes=[_CONFIG_PATH])
        case Trusting.KUBERNETES:
            return Plan(_containerd(hosts), notes=[*_ON_EACH_NODE, _CONFIG_PATH])
        case Trusting.SYSTEM:
            return _system()


def describe(plan: Plan, authority: Path) -> str:
    """The plan as commands for a shell, to be run where the client runs."""
    lines = [f"# {note}" for note in plan.notes]
    for step in plan.steps:
        path = shlex.quote(str(step.path))
        if step.text is None:
            lines.append(f"sudo install -D -m 644 {shlex.quote(str(authority))} {path}")
        else:
            lines += [f"sudo install -d {shlex.quote(str(step.path.parent))}", f"sudo tee {path} >/dev/null <<'EOF'"]
            lines += [step.text.rstrip("\n"), "EOF"]
    return "\n".join([*lines, *(f"sudo {shlex.join(command)}" for command in plan.commands)])


def how_to_fetch(host: str, prefix: str, authority: Path) -> str:
    """Comments that explain how to get the certificate onto the client's machine, if it is another one."""
    digest = x509.load_pem_x509_certificate(authority.read_bytes()).fingerprint(hashes.SHA256()).hex(":").upper()
    return (
        f"# The CA's certificate is {authority} on the registry's machine. On a client's, fetch it, compare it, and\n"
        f"# write ca.crt for that path in what follows:\n"
        f"#   curl --insecure --output ca.crt https://{host}{prefix}/api/v2.0/systeminfo/getcert\n"
        f"#   openssl x509 -in ca.crt -noout -fingerprint -sha256   # must say {digest}"
    )


def describe_undoing(plan: Plan) -> str:
    """The reversal of the plan as commands for a shell."""
    lines = [f"sudo rm -f {shlex.quote(str(step.path))}" for step in plan.steps]
    return "\n".join([*lines, *(f"sudo {shlex.join(command)}" for command in plan.commands)])


def undo(plan: Plan, *, root: Path = Path("/")) -> list[Path]:
    """Remove the plan's files and run its commands; returns the files that existed. Raises as `carry_out`."""
    there = [path for step in plan.steps if (path := root / step.path.relative_to("/")).exists()]
    for path in there:
        path.unlink()
    _run(plan, root)
    return there


def carry_out(plan: Plan, authority: Path, *, root: Path = Path("/")) -> list[Path]:
    """Write the plan's files and run its commands; returns the files. Raises OSError, CalledProcessError.

    With another `root` (an image, a node's mounted disk) the commands are left out: they are for the running system.
    """
    written = [_write(step, authority, root) for step in plan.steps]
    _run(plan, root)
    return written


def _run(plan: Plan, root: Path) -> None:
    if root == Path("/"):
        for command in plan.commands:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _write(step: Step, authority: Path, root: Path) -> Path:
    path = root / step.path.relative_to("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    if step.text is None:
        shutil.copyfile(authority, draft)
    else:
        draft.write_text(step.text)
    draft.chmod(_FILE_MODE)
    draft.replace(path)
    return path


def _per_host(folder: str, hosts: list[str]) -> list[Step]:
    return [Step(Path(folder) / host / "ca.crt") for host in hosts]


def _containerd(hosts: list[str]) -> list[Step]:
    return [step for host in hosts for step in _containerd_host(Path("/etc/containerd/certs.d") / host, host)]


def _containerd_host(folder: Path, host: str) -> list[Step]:
    text = (
        f'server = "https://{host}"\n\n[host."https://{host}"]\n'
        f'  capabilities = ["pull", "resolve", "push"]\n  ca = "{folder / "ca.crt"}"\n'
    )
    return [Step(folder / "ca.crt"), Step(folder / "hosts.toml", text)]


_CONFIG_PATH: Final = (
    'containerd must look there: config_path = "/etc/containerd/certs.d" under the registry section of its '
    "config.toml ([plugins.'io.containerd.cri.v1.images'.registry], before 2.0 "
    '[plugins."io.containerd.grpc.v1.cri".registry]); then no restart is needed for each new host.'
)
_ON_EACH_NODE: Final = (
    "On each node, not in the cluster: kubelet has its container runtime pull, and that one must trust the CA.",
    "Nodes with CRI-O: as podman. k3s and RKE2: configs.HOST.tls.ca_file in /etc/rancher/k3s/registries.yaml.",
    "Managed nodes: put these commands into the node group's start script, or into a privileged DaemonSet.",
)


def _system() -> Plan:
    if sys.platform == "darwin":
        path = Path("/usr/local/etc/portolan-ca.crt")
        keychain = "/Library/Keychains/System.keychain"
        return Plan(
            [Step(path)], [["security", "add-trusted-cert", "-d", "-r", "trustRoot", "-k", keychain, str(path)]]
        )
    if shutil.which("update-ca-trust"):
        return Plan([Step(Path("/etc/pki/ca-trust/source/anchors/portolan-ca.crt"))], [["update-ca-trust"]])
    note = "For Debian, Ubuntu, Alpine. Fedora and RHEL: /etc/pki/ca-trust/source/anchors and update-ca-trust."
    path = Path("/usr/local/share/ca-certificates/portolan-ca.crt")
    return Plan([Step(path)], [["update-ca-certificates"]], [note, "Docker needs a restart to see it."])
