"""hamlet: an async LLM serving gateway. Importing it does nothing; see `hamlet.app`."""

__version__ = "0.1.0"
