"""What a command needs that a plain installation has not."""

from __future__ import annotations

from upnext.core.errors import InvalidInput


def need_torch(command: str) -> None:
    """Nothing. Raises InvalidInput without the train extra."""
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            f"{command} needs the train extra: pip install 'upnext[train]' ({error})"
        ) from error
