"""A draft, criticised and written again until it is good enough.

`pattern` is the strategy. `rules` (critics that need no agent), `critics`.
"""
