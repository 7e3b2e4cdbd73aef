"""The adapters that come with hamlet. They enter by the same door as any plugin."""
