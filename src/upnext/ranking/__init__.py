"""The multi-task ranker and the value of its predictions."""
