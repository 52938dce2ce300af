"""The settings that an administrator changes at run time: names, current values, and changes.

Settings that a process needs before it can reach Postgres are in `registry_core.config`.
"""
