"""The composition root: the only place that names every part. Each file puts one thing together."""
