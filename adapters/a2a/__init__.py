"""Agent2Agent protocol, both faces."""
