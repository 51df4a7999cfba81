"""Runs, from outside: started, seen, steered, looked into.

- Begun and ended: `admission` (from a call to a run), `versions` (of workflows), `endings`, `retention`.
- Seen: `seen` (found, listed, drawn as a tree), `watching`, `labels`.
- Steered: `control`, `forks`, `dead_letters`; answered by `asking_callers` (put to callers), `approving` (people with
  a role).
- Looked into: `explaining` and `explanation` (with `ordering`), `advising` and `advice`.
"""
