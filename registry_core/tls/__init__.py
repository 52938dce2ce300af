"""HTTPS: our own certificate authority, configured certificates, their renewal, and why a client refuses one."""
