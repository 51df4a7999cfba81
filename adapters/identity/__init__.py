"""Who calls: API keys, delegation tokens, secrets by reference."""
