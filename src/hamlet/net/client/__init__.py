"""Our HTTP/1.1 client: parser, connection, pool, requests; and the reference over aiohttp."""
