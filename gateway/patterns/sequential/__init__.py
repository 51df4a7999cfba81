"""Stages in a fixed order, each told of what came before it; items of a batch go through them one behind the other.

`pattern` is the strategy. `stages` (as settings describe them), `handover` (what a stage is given), `stage_work`,
`shares` (of tokens and money), `speculation`, `lost_told` (references that led nowhere, said once). Of a batch:
`batches`, `pieces`, `item_work`, `queues`, `crew`.
"""
