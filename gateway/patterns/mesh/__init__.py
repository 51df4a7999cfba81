"""Agents that hand a task to each other, as far as hops and rules let them.

`pattern` is the strategy. `rules`, `trail` (where it has been), `handoff`, `bids`.
"""
