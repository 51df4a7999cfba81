"""What a gateway is, without any protocol, product, database or clock."""
