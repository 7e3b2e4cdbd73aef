"""The caches of the main screen, from the bottom up.

1. `SwrCache` is the only stale-while-revalidate cache: candidates (links found on the web, drafts
   of a model) by a salted hash of the query, each fetched once at a time. A `CacheStore` such as
   `RedisStore` may back it, so that processes share entries.
2. `CachedFetch` is one request's view of one entry: what may be shown of it, and where that came
   from. It holds nothing itself.
3. `ResponseCache` memoises what was selected from fresh entries. It fetches nothing and has no
   lifetime of its own: its keys name the entries, and an entry that is replaced invalidates them.
"""

from hamlet.suggest.cache.cached_fetch import CachedFetch
from hamlet.suggest.cache.keys import KeyHasher, key_hasher
from hamlet.suggest.cache.redis_store import RedisStore
from hamlet.suggest.cache.response_cache import ResponseCache, ResponseKey, Sections
from hamlet.suggest.cache.swr_cache import CacheEntry, CacheStore, StoredEntry, SwrCache

__all__ = [
    "CacheEntry",
    "CacheStore",
    "CachedFetch",
    "KeyHasher",
    "RedisStore",
    "ResponseCache",
    "ResponseKey",
    "Sections",
    "StoredEntry",
    "SwrCache",
    "key_hasher",
]
