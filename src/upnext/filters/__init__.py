"""Reasons not to show a video, each a mask."""
