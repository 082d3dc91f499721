"""State, update and read of every feature; labels; replay and rebuild."""
