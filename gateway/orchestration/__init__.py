"""Runs of patterns: durable steps, scratchpad, run tree. One more upstream; knows no engine and no protocol."""
