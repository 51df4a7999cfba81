"""Workers asked side by side, and what they said merged.

`pattern` is the strategy. `merging` and `merging_settings`, `found` (with what was merged it goes on), `reports` (from
a template), `goals` (whether it is enough, and who is asked again).
"""
