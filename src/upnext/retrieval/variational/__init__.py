"""Viewers and videos as distributions: a mean and a variance for each, and query vectors that search where the viewer may be."""
