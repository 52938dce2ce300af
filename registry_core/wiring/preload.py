"""Imports everything once, before processes are forked, so that they share its memory.

Of the memory of a process after its imports, more than nine tenths never change. A forked process shares it with its
parent, as long as neither writes to it.
"""

import ctypes
import gc
import os
import sys
from importlib import import_module

from registry_core.machine.imports import without

ARENAS = 2  # of glibc's malloc: with one per thread, each would keep the most that it ever needed
_M_ARENA_MAX = -8
# Imported by Django by name when a user signs in; without this, in each worker separately.
_FOR_THE_FIRST_REQUEST = (
    "argon2",
    "django.contrib.messages.storage.fallback",
    "django.contrib.sessions.serializers",
    "encodings.idna",  # what the name of a host is encoded with, also where it is an address
)
_FOR_WORKERS = ("multiprocessing.popen_fork", "registry_core.wiring.serve")


def preload(*, is_worker: bool = False) -> None:
    """Import what answers requests, and with `is_worker` what runs jobs. Opens no connection or file, starts no thread.

    Does nothing in a process that was forked from one that has done this. Raises ConfigError.
    """
    if gc.get_freeze_count():
        return
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "registry_core.wiring.settings")
    _few_arenas()
    # REST framework would import them for its test client and pages, granian for an unused interface, Celery for
    # another kind of threads: 5 MiB.
    with without("requests", "pygments", "anyio", "greenlet"):
        import_module("registry_core.wiring.rsgi")
        for module in (*_FOR_THE_FIRST_REQUEST, *_FOR_WORKERS):
            import_module(module)
        from django.urls import get_resolver

        _ = get_resolver().url_patterns
        if is_worker:
            from registry_core.wiring.celery import import_worker

            import_worker()
            import_module("registry_core.wiring.clock")
    from django.db import connection

    connection.get_connection_params()  # creates the converters for all connections
    from registry_core.content.policies import plugins

    plugins()
    # A garbage collection in a child writes to every object that it visits, and so copies its page: exclude these
    # objects.
    gc.collect()
    gc.freeze()
    _give_back()


def _few_arenas() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def _give_back() -> None:
    """Return memory to the system that was needed only while importing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
