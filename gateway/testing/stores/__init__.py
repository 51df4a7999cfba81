"""In-memory twins of the stores: what a gateway keeps, for as long as whoever holds them."""
