"""upnext.toml, strict."""
