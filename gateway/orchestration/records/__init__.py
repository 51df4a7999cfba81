"""What is kept of a run, and how it is read again: plain values. Pure.

`spec` (with what a run was started), `events` (its log, and the task that makes), `orders` (a step that is to be done),
`results` (what came of it), `promised` (whether it keeps its contract), `history` (earlier runs in the same context).
"""
