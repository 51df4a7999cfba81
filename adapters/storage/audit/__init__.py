"""The audit log: audit.db, one chain of records, signed now and then, and everything that reads it."""
