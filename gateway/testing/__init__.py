"""For whoever tests a pattern: scripted agents, and `Steps` in memory on a clock that only the script moves."""
