"""A plan carried out by the cheapest tier that can, and climbed where it cannot.

`pattern` is the strategy. `tiers` (as settings describe them), `tiered_work` (one step, up the tiers), `tier_costs`.
"""
