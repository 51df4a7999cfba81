"""Runs of patterns: durable steps, scratchpad, run tree. One more upstream; knows no engine and no protocol.

Begin with `orchestrator`, which calls come to; `execution`, the body of every run; `steps`, what its pattern works
with. Below them, each package with its map: `runs` (from outside), `step` (what a pattern can have done), `running`
(what a run has about it), `wiring` (what all of it needs of the outside), `messages` (what a step is told), `records`
(what is kept), `settings`. Each knows only those after it; `runs` stands beside `execution`.
"""
