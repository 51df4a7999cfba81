"""The composition root: the only place that names every part. Each file puts one thing together.

- A gateway: `serve` (from start to end), `foundation` (what lives as long as the process, opened), `composition` (the
  path and its neighbours), `doors` on a port of `listening`, `operations` (what the REST API asks), `reloading`
  (whether what the file says is in force).
- Of the configuration: `sections` (which there are), `judging` (policies), `neighbours` (upstreams), `agents` (what
  runs know of them), `services` (OpenAPI), `buses`, `subscriptions` (topics that start runs), `mcp_offers`, `pins`.
- Who is who: `oauth`, `oauth_client`, `upstream_tokens`, `accounts`.
- Where things are kept: `storage`, `storage_url`, `engine` (the durable one), `others` (processes on one database).
- `drawbridge test`: `scenarios`, `ready`, `trials` of a `trial` gateway in memory, in which requests are made by
  `asking` and answered by `stand_ins` or `real_neighbours` with `trial_doors`; `load_trials`, `contract_trials`,
  `contract_versions`, `known_targets` (what could have been called).
"""
