"""What a run has about it while it is under way.

`context` holds it together: `ledger` (its budget), `pauses` and `stopping` (from outside), `relaying` (questions of
nested runs) with `waiting` (for people), `chronicle` (told beside it), `begun` (steps beside the pattern), `undoing`,
`dead_letter_queue`; `persistence` (a busy storage is asked again), `bell` (somebody is woken).
"""
