"""Shared by all tests. httpx2 must answer to the name httpx before anything imports httpx."""

import httpx2

httpx2.alias_httpx()
