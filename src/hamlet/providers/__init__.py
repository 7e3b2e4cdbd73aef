"""The built-in adapters. They are registered by entry point like any plugin."""
