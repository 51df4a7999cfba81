"""Judgements: pure functions and classes over requests, results and labels. No I/O but through ports."""
