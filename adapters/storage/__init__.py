"""What outlives the process: gateway.db, audit.db, scratch.db."""
