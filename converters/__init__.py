"""Converters: checkpoint -> artifacts. Recipes, one file a backend, parity, packaging."""
