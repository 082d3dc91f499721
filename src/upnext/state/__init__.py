"""Online state: bytes by key with the log_seq they reflect."""
