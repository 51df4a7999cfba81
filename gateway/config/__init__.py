"""`gateway.yaml` to frozen sections: read, checked, explained, reloaded as a whole or not at all."""
