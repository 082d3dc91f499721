"""The last art of a request: a slate drawn slot by slot, every slot with its exact probability."""
