"""The catalogue: videos and users, item_id, dense codes."""

from upnext.catalog.store import Catalog
from upnext.catalog.view import CatalogView

__all__ = ["Catalog", "CatalogView"]
