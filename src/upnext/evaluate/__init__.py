"""Metrics, intervals and the tables that print them."""
