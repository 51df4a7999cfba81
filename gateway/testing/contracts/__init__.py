"""Contracts of an orchestration: what its schemas promise, who relies on it, and whether it is kept."""
