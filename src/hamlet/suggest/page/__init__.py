"""The page at `/`."""

from hamlet.suggest.page.endpoints import PageContext, PageInfo, add_page

__all__ = ["PageContext", "PageInfo", "add_page"]
