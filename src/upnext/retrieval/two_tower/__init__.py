"""The two-tower network: viewers and videos in one space (Covington 2016; Yi 2019)."""
