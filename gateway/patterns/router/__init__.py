"""A request goes to whom it is for, by rule or by classifier, in parts where it holds several wishes.

`pattern` is the strategy. `routes` (where a request goes, and who says so): `rules` with `bounded_regex`, `kept` (what
was routed before), `classifying` and its `verdicts`. `conversation`, `replicas`, `takers` (who comes after whoever
failed), `answers`; measured by `evaluation`.
"""
