"""What a video is about, from its text and tags alone."""
