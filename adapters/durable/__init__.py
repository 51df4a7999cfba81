"""The durable engine behind the `Journal` port: DBOS, and an in-memory twin for tests."""
