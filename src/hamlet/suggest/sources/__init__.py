"""Where links come from. Sources enter by the entry-point group `hamlet.sources`."""
