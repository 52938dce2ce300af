"""HTTPS: our own certificate authority, certificates that were given, their renewal, and why a client refuses one."""
