"""What the core needs of the outside world, as protocols; `tests/contracts` holds every adapter to them."""
