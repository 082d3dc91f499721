"""UpNext: an open-source video recommender that a platform installs and runs."""

__version__ = "0.1.0"
