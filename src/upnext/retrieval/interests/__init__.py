"""Several interests of one viewer: Ward clusters of the history, each stood for by its medoid (PinnerSage)."""
