"""A2A 1.0 on the wire, as JSON. Pure: no I/O, no event loop."""
