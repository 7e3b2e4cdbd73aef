"""The main screen over HTTP."""

from hamlet.suggest.api.endpoints import main_screen_routes
from hamlet.suggest.api.events import EventsEndpoint, events_route

__all__ = ["EventsEndpoint", "events_route", "main_screen_routes"]
