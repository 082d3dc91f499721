"""A generator that learns from what a logging policy chose to show, and corrects for the choice."""
