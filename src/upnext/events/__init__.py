"""The log: append-only, durable before it is acknowledged; slates beside it."""
