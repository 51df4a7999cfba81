"""A request goes to whom it is for, by rule or by classifier, in parts where it holds several wishes.

`pattern` is the strategy. `routing` (as settings describe it), `rules` with `bounded_regex`, `classifying`, `verdicts`
and `verdicts_kept` (what was routed before), `conversation`, `replicas`, `takers` (who comes after whoever failed),
`answers`; measured by `evaluation`.
"""
