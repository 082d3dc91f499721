"""Nouns, verbs, errors, randomness, clock and column names: what every room speaks."""
