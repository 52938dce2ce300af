"""Untrusted content is read here, in a child process with limits, never in one that serves.

`reading.read` is the interface: it runs a registered function on the bytes of an object and returns its result. The
modules `child`, `confinement`, `packing` and `archives` run in the child; they import as little as they can, since each
job starts an interpreter of its own.
"""
