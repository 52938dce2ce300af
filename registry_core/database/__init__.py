"""The connection to Postgres: Django's, with a cheaper look at what the pool hands out, and prepared statements."""
