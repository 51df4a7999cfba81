"""Who may call what: roles written in YAML, decided by Cedar. Knows no server, agent or protocol, only their names."""
