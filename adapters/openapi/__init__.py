"""HTTP services described by OpenAPI documents, as servers of tools. Knows nothing of MCP's wire."""
