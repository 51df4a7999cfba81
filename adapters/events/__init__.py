"""Message buses: one in memory, and brokers behind FastStream; topics of theirs as tools."""
