"""Agents that take up what others publish, until the goal is reached or nothing is left to do.

`pattern` is the strategy. `rules` (who hears what), `board` (what is going on) with `task_queue` and `findings`,
`rounds`, `goals`, `publications`.
"""
