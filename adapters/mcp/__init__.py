"""Model Context Protocol, both faces."""
