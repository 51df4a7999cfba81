"""A panel judges by a rubric, and argues where it is not of one mind.

`pattern` is the strategy. `panel` (as settings describe it), `rubric`; measured by `calibration`.
"""
