"""Orchestration strategies. They see a `Task` and `Steps`, nothing else.

A package each, whose `pattern` is the strategy and whose docstring is its map: `sequential`, `concurrent`, `router`,
`supervisor`, `plan_execute`, `consensus`, `reflection`, `mesh`, `event_driven`; and `canary`. They do not know each
other: what several do alike is in `shared`, work after a plan in `planned`.
"""
