"""The audit log: who did what to what, and when, written from the outbox after it happened."""
