"""The gateway as a client of authorization servers: the tokens by which upstreams let it in."""
