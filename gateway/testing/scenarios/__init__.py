"""Scenarios: requests to an orchestration, what its agents answer, what goes wrong, and what has to come of it."""
