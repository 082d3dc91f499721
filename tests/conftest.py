"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# an example may be the first call of a compiled function, and pay for its compilation
settings.register_profile("upnext", deadline=None)
settings.load_profile("upnext")
