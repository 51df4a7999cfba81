"""What a step is told.

`said` (its message), `handed` (beside its own input, by name), `fitting` (made to fit its reader), `fetching` (the rest
of a result) and `earlier_turns` (the rest of one), `memories`.
"""
