"""What a video is about, as one vector: title, tags, category, language, duration and the platform's own embedding."""
