"""Orchestration strategies. They see a `Task` and `Steps`, nothing else.

Each pattern is the class in the module of its name; beside it stand its parts:

- `sequential`: `stages`, `handover` (what a stage is given), `stage_work`, `speculation`; of a batch `batches`,
  `pieces`, `item_work`, `queues`, `crew`.
- `concurrent`: `dealing`, `gathering` (asked side by side), `merging`, `merging_settings`, `found`, `reports`,
  `goals`.
- `supervisor`: `plan`, `planning`, `rounds`, `plan_undoing`; `review`, `reviewed`; `agreement` where agents propose
  first.
- `plan_execute`: `plan` and `planning` as well, `tiers`, `tiered_work`, `tier_costs`.
- `router`: `routing`, `routing_rules`, `bounded_regex`, `wishes`, `classifying`, `verdicts`, `verdicts_kept`,
  `conversation`, `replicas`, `routing_answers`; measured by `route_eval`.
- `consensus`: `panel`, `rubric`; measured by `calibration`.
- `reflection`: `reflection_rules`, `critics`, `critique`.
- `mesh`: `mesh_rules`, `mesh_trail`, `handoff`, `bids`, `loops`.
- `event_driven`: `event_rules`, `event_board`, `event_goals`, `event_rounds`, `findings`, `publications`,
  `task_queue`.
- `canary`.

Of several patterns: `settings` and `roles` (read from a workflow), `sufficiency` (limits too small), `work` (steps
described as a generator), `tries` and `failures` (done again, by whom else, as the caller says), `undoing`, `writing`
(on the scratchpad), `verify` (looked up), `references` (`$task.order`), `lost_references` (that lead nowhere)
and `lost_told`, `views` (what a step is shown), `rolling` (what earlier rounds came to), `nested` (answers of
workflows), `gaps`, `shares` (of tokens and money), `sameness`, `spoken` (JSON in what agents say).
"""
