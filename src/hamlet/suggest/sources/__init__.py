"""Sources of links: web searches and the catalogue, found by entry point (`hamlet.sources`)."""
