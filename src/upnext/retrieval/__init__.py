"""Candidate generators and the vector index."""
