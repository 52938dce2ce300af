"""The outbox: events written with the change that they report, numbered later, and read by consumers."""
