"""The main screen over HTTP."""

from hamlet.api.main_screen.endpoints import main_screen_routes

__all__ = ["main_screen_routes"]
