"""What a child gives up before it reads its first byte: memory, time, files, processes, the network.

There are two independent layers, so that a machine without one of them has the other. Resource limits (getrlimit(2))
work everywhere: when no file can be opened, there is no path and no socket. Linux also filters system calls
(seccomp(2)): calls that a function on bytes does not need are refused, such as signals to other processes of the same
user.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

NOBODY = 65_534
NICE = 10
_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_SECCOMP_RET_KILL_PROCESS, _SECCOMP_RET_ERRNO, _SECCOMP_RET_ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000
_EPERM = 1
_BPF_LOAD, _BPF_EQUAL, _BPF_RETURN = 0x20, 0x15, 0x06  # struct bpf_insn: ld [k], jeq #k, ret #k
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data

# Reading and writing open files, memory, own signals, clocks, random bytes and exit, by number: from read (0 and 63) to
# newfstatat (262 and 79), in the same order for both architectures.
_ALLOWED = {
    "x86_64": (
        0xC000_003E,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 19, 20, 17, 25, 28, 60, 202, 231, 228, 230, 96, 24, 318, 98, 131,
         219, 334, 262),
    ),
    "aarch64": (
        0xC000_00B7,
        (63, 64, 57, 80, 62, 222, 226, 215, 214, 134, 135, 139, 65, 66, 67, 216, 233, 93, 98, 94, 113, 115, 169, 124,
         278, 165, 132, 128, 293, 79),
    ),
}  # fmt: skip


def confine(*, parent: int, memory_bytes: int, cpu_s: int, wall_s: float) -> None:
    """Give up everything that a function on bytes does not need. The kernel ends this process when `parent` ends, when
    it has used `cpu_s` seconds of processor time, and `wall_s` seconds from now."""
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    os.nice(NICE)
    _become_nobody()
    if libc is not None:
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    _end_after(wall_s)
    _limit(resource.RLIMIT_CPU, cpu_s, cpu_s + 1)  # SIGXCPU, which shows the reason; a second later SIGKILL
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NPROC, 0)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_NOFILE, 0)
    if libc is not None:
        _filter_calls(libc)


def _end_after(wall_s: float) -> None:
    """Also resets the signal, because ignored and blocked signals are inherited from the starting process."""
    for number in (signal.SIGALRM, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.setitimer(signal.ITIMER_REAL, wall_s)


def _become_nobody() -> None:
    """Root is exempt from some limits, and may signal every process."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:  # in a user namespace without other users, where root has no special rights
        return


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, unless a lower one is in force or the system does not support it."""
    hard = soft if hard is None else hard
    try:
        _, in_force = resource.getrlimit(what)
        if in_force != resource.RLIM_INFINITY:
            soft, hard = min(soft, in_force), min(hard, in_force)
        resource.setrlimit(what, (soft, hard))
    except (OSError, ValueError):
        return


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction)))


def _filter_calls(libc: ctypes.CDLL) -> None:
    """Refuse every other system call with EPERM; does nothing if the kernel has no filters."""
    known = _ALLOWED.get(os.uname().machine)
    if known is None:
        return
    architecture, allowed = known
    steps = [
        (_BPF_LOAD, 0, 0, _ARCHITECTURE),
        (_BPF_EQUAL, 1, 0, architecture),
        (_BPF_RETURN, 0, 0, _SECCOMP_RET_KILL_PROCESS),
        (_BPF_LOAD, 0, 0, _NUMBER),
        *((_BPF_EQUAL, len(allowed) - place, 0, number) for place, number in enumerate(allowed)),
        (_BPF_RETURN, 0, 0, _SECCOMP_RET_ERRNO | _EPERM),
        (_BPF_RETURN, 0, 0, _SECCOMP_RET_ALLOW),
    ]
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Program(len(steps), instructions)), 0, 0)
