"""The main screen over HTTP."""

from hamlet.api.main_screen.endpoints import main_screen_routes
from hamlet.api.main_screen.events import EventsEndpoint, events_route

__all__ = ["EventsEndpoint", "events_route", "main_screen_routes"]
