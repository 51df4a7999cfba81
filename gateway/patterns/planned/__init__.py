"""Work after a plan, for strategies that make one.

`plan` (its steps and their order), `planning` (had made, checked, made again), `rounds` (carried out layer by layer),
`review` (what of it is accepted), `undoing`.
"""
