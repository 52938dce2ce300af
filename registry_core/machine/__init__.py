"""State of one machine: durable files, secrets, generations in shared memory, accounts and child processes."""
