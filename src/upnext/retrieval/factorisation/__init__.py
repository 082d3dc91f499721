"""Matrix factorisation: weighted least squares (WALS) and, as the older baseline, WARP."""
