"""The HTTP API: endpoints, dialects, dispatch, streaming. Is given the use cases to call."""
