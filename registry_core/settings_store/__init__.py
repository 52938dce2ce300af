"""The settings that an administrator changes at run time: which there are, what each holds now, and how it is changed.

What a process must know before it can reach Postgres is in `registry_core.config`.
"""
