"""Pages for people to look and steer."""
