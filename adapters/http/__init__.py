"""The listening side: ASGI app, doors, REST API, error boundary."""
