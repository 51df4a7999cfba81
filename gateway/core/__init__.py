"""What a gateway is, without any protocol, product, database or clock.

Begin with `pipeline`, the one path that every call takes; it reads from top to bottom as a call happens.

- Values: `model` (who calls, what can be called, a call, its answer), `content`, `labels`, `limits`, `task`,
  `record`, `verdict`, `errors`, `json`.
- On the path, in its order: `plans` (policies compiled for a kind of call), `hops` (how deep agents call each other),
  `answers` (those that are given again), `effects` (each once), `resilience` with `bulkhead` and `breaker`, `hearing`
  (what agents are told taints what they do).
- What can be called: `catalog`, kept warm by `lists`; `first_answers` waits for upstreams nobody has heard of yet.
- Faults on purpose: `faults`, `chaos` (in a running gateway), `spread` (how far one got).
- Small and pure: `asked`, `contracts` (JSON Schema), `expressions` (regular ones), `fields`, `pointers`, `slugs`,
  `uris`, `usage` (what answers say of tokens and cost).

`ports` is what all of it needs of the outside.
"""
