"""A configuration to start from, for each pattern. Pure."""

from gateway.orchestration.runs.advice.choice import SINGLE

_STARTS = {
    SINGLE: """\
# No workflow: let the client call the agent itself.
roles:
  users:
    allow: ["agent:helper"]
""",
    "router": """\
workflows:
  desk:
    pattern: router
    agents: [billing, shipping, helper]
    classifier: triage
    router:
      rules:
        - {agent: billing, keywords: [invoice, refund]}
        - {agent: shipping, keywords: [parcel, delivery]}
      otherwise: helper
""",
    "sequential": """\
workflows:
  review:
    pattern: sequential
    stages:
      - agent: extract
      - agent: classify
      - agent: summarise
""",
    "concurrent": """\
workflows:
  survey:
    pattern: concurrent
    agents: [news, filings, ratings]
    synthesiser: writer
    concurrent: {merge: union}
    limits: {deadline_s: 60}
""",
    "supervisor": """\
workflows:
  help:
    pattern: supervisor
    planner: triage
    agents: [refunds, replacements, scheduling]
    limits: {concurrency: 4, max_rounds: 2}
""",
    "plan_execute": """\
workflows:
  study:
    pattern: plan_execute
    planner: strategist
    executor: worker
    synthesiser: writer
""",
    "consensus": """\
workflows:
  risk:
    pattern: consensus
    agents: [first, second, third]
    judge: arbiter
    consensus:
      rubric:
        evidence: {weight: 2, about: every claim names what it rests on}
        sense: {about: the conclusion follows from the evidence}
""",
    "mesh": """\
workflows:
  incident:
    pattern: mesh
    agents: [network, database, application]
    mesh: {entry: application, hops: 5}
""",
    "reflection": """\
workflows:
  article:
    pattern: reflection
    agents: [writer]
    critic: editor
    limits: {max_rounds: 3}
""",
    "event_driven": """\
workflows:
  search:
    pattern: event_driven
    agents: [finder, reader]
    goal_checker: checker
    event_driven:
      workers:
        finder: {topics: [request, question]}
        reader: {topics: [document]}
""",
}


def start_of(pattern: str) -> str:
    """YAML to paste into a configuration; agents are to be renamed. Empty for a pattern of a plug-in."""
    return _STARTS.get(pattern, "")
