"""Sequence models: the next watch from the latest ones, in order, by a recurrent network or a causal transformer."""
