"""The connection to Postgres: Django's, with a cheaper liveness check of pooled connections, and prepared
statements."""
