"""A planner's steps, reviewed after every round and planned again where they fell short.

`pattern` is the strategy; `reviewed` its rounds, `agreement` the way there where agents propose first.
"""
