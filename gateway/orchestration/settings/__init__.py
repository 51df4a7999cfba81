"""A workflow as it is configured, and what is wrong with that. Knows no run.

`workflow` with `targets` and `blocks` (one a pattern); checked by `nesting`, `unfit_limits`, `unused` and `doubts`.
"""
