"""Orchestration strategies. They see a `Task` and `Steps`, nothing else."""
