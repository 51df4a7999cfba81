"""What a pattern can have done: a step, and all that belongs to one.

- `calls` (budgeted, checked, tried), `deliveries` (one attempt), `own_calls` (its agent's), `graphs` (many steps),
  `offers` (what a target is good for), `notes` (kept for later runs), `taking_over` (of roles).
- What it is told: `summaries` (made to fit), `recaps` (of earlier turns), `remembering`.
- The scratchpad: `scratchpad`, `scratchpad_rules`, `run_server` (agents' way to it).
- Questions: `questions` (of the pattern), `asking_back` (of agents), `tools_asking` with `forms` (of tools).
"""
