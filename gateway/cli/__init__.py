"""The command line: one module per command group in `commands`; thin: parse, call, print.

- Every command: `main` (names them all), `options`, `failure` (exit codes), `render`, `words` (of strangers), `logs`,
  `moments` (times as people write them), `files`.
- The running gateway: `remote` (its REST API), `routes_recorded`, `mcp_calls` and `classifier_remote` (asked as a
  client asks).
- Without one: `place_contents`, `offline`, `offline_keys`, `offline_offers`, `offline_workflows`, `diagnosis`
  (`doctor`), `judging` (a judge put to a gold set).
- Setting up: `scaffold` (the first `gateway.yaml`), `mcp_json` (servers of a client's file), `clients`,
  `client_keys`, `adopt` (an entry in a client's file).
- How answers look: `audit_views`, `chaos_views`, `contract_views`, `explanations`, `pin_views`, `run_views`,
  `run_forms`, `scenario_views`.
"""
