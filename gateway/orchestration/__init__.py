"""Runs of patterns: durable steps, scratchpad, run tree. One more upstream; knows no engine and no protocol.

Begin with `orchestrator`, which calls come to; `execution`, the body of every run; `steps`, what its pattern works
with.

- A run: `admission` (from a call to it), `spec` (with what it was started), `versions`, `context`, `ledger` (its
  budget), `runs` (as people see it), `run_labels`, `watching`, `waiting`, `endings`, `retention`, `persistence`,
  `bell`.
- A step: `orders`, `calls` (budgeted, checked, tried), `deliveries` (one attempt), `results`, `chronicle` (told
  beside the run), `begun` (under way beside the pattern), `own_calls` (its agent's), `graphs`, `offers`, `notes`.
- What a step says: `messages`, `handed` (of it, by name), `history`, `recaps`, `fitting` and `summaries` (made to fit
  a window), `fetching` (the rest of a result), `earlier_turns` (the rest of one), `memories` and `remembering`.
- Questions: `questions` (of a run), `asking_back` (of agents), `tools_asking` with `forms` (of tools), `relaying` (of
  nested runs), `asking_callers` (put to callers with forms), `approving` (answers of people with a role).
- Steered from outside: `control`, `pauses`, `stopping`, `undoing`, `forks`, `dead_letter_queue`, `dead_letters`.
- The scratchpad: `scratchpad`, `scratchpad_rules`, `run_server` (agents' way to it).
- Looked into: `events` (the log as a task), `explaining` and `explanation`, `advising` and `advice`.
- Settings: `settings`, `targets`, `blocks` (one a pattern), `nesting`, `unused`, `unfit_limits`, `doubts`.

`wiring` is what all of it needs of the outside.
"""
