"""hamlet's own transport: HTTP/1.1 on httptools' parser, over any asyncio loop and its TLS."""

from hamlet.spi.h1.transport import HttptoolsTransport

__all__ = ["HttptoolsTransport"]
