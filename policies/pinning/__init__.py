"""Definitions of tools, prompts and servers, held to what they were when they were trusted."""
