"""HTTP towards upstreams: pooled client for the data path, TLS contexts, the egress guard."""
