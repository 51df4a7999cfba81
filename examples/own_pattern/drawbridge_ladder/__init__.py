"""A pattern of one's own, as a package of one's own."""
