"""The HTTP edge and the intake process."""
