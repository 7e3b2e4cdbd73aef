"""The HTTP API of the main screen."""

from hamlet.suggest.api.endpoints import main_screen_endpoints
from hamlet.suggest.api.events import EventsEndpoint, events_endpoint

__all__ = ["EventsEndpoint", "events_endpoint", "main_screen_endpoints"]
