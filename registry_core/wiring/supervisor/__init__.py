"""`portolan up`: every process of the registry, with an embedded Postgres and Valkey, on one machine."""
