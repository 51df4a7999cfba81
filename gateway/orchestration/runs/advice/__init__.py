"""Which pattern fits which work, what it will take, and what the record of runs suggests. Pure."""
