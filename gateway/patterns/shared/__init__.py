"""What several strategies do alike.

- Read from a workflow: `settings`, `roles`; `sufficiency` (limits too small).
- Steps: `work` (described as a generator), `tries` and `failures` (done again, by whom else, as the caller says),
  `effects` and `undoing`, `writing` (on the scratchpad), `verify` (looked up).
- Asked side by side: `dealing` (who gets which part), `gathering`.
- What a step is shown: `views`, `references` (`$task.order`), `lost_references` (that lead nowhere), `rolling` (what
  earlier rounds came to).
- What is said: `spoken` (JSON in what agents say), `wishes` (several in one request), `nested` (answers of workflows),
  `gaps`, `goals`, `critique`, `sameness`, `loops` (the same over and over).
"""
