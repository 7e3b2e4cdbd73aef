"""Retrieval quality on public sets: nDCG@5 and recall@10 of the index that the embedded tier uses.

    python -m loadtest.bench.retrieval_quality FOLDER [--embed]

FOLDER holds one folder per set (ko_links, ...) in the layout of BEIR, https://github.com/beir-cellar/beir.
With --embed the Korean links are also searched by vectors (the extra `embed`): computing their 1,759
vectors takes a minute or two. Exits with 1 below a minimum. Nothing is tuned to these sets.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hamlet.suggest.retrieval import Bm25Index, Embedder, HybridIndex, load_encoder

Search = Callable[[str], Awaitable[list[int]]]
_MIN_SHARE = 0.3


@dataclass(frozen=True)
class Task:
    """A corpus, its queries and relevance judgements, and the lowest acceptable figures."""

    name: str
    corpus: str
    queries: str
    qrels: str
    ndcg5: float
    recall10: float
    gate: float = 0.0
    embed: bool = False


VECTOR_TASKS = [
    Task(
        "ko_links item-to-item +embed",
        "ko_links/corpus.jsonl.gz",
        "ko_links/queries.item2item.jsonl",
        "ko_links/qrels.item2item.tsv",
        0.48,
        0.39,
        0.65,
        embed=True,
    ),
    Task(
        "ko_links en2ko +embed",
        "ko_links/corpus.jsonl.gz",
        "ko_links/queries.en2ko.jsonl",
        "ko_links/qrels.en2ko.tsv",
        0.72,
        0.88,
        embed=True,
    ),
]
LEXICAL_TASKS = [
    Task(
        "ko_links item-to-item",
        "ko_links/corpus.jsonl.gz",
        "ko_links/queries.item2item.jsonl",
        "ko_links/qrels.item2item.tsv",
        0.39,
        0.32,
        0.65,
    ),
    Task(
        "ko_links en2ko",
        "ko_links/corpus.jsonl.gz",
        "ko_links/queries.en2ko.jsonl",
        "ko_links/qrels.en2ko.tsv",
        0.30,
        0.30,
    ),
    Task(
        "en_wiki_vital",
        "en_wiki_vital/corpus.jsonl.gz",
        "en_wiki_vital/queries.jsonl",
        "en_wiki_vital/qrels.tsv",
        0.72,
        0.86,
    ),
]


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file, packed or not."""
    opened = gzip.open(file, "rt") if file.suffix == ".gz" else file.open()  # noqa: SIM115
    with opened as lines:
        yield from map(json.loads, lines)


def read_judgements(file: Path) -> dict[str, set[str]]:
    """Relevant documents per query."""
    relevant: dict[str, set[str]] = {}
    for line in file.read_text().splitlines()[1:]:
        query, document, score = line.split("\t")
        if float(score) > 0:
            relevant.setdefault(query, set()).add(document)
    return relevant


def ndcg(found: list[str], relevant: set[str], depth: int) -> float:
    """Normalised discounted cumulative gain with binary relevance."""
    gain = sum(1 / math.log2(i + 2) for i, id_ in enumerate(found[:depth]) if id_ in relevant)
    best = sum(1 / math.log2(i + 2) for i in range(min(depth, len(relevant))))
    return gain / best if best else 0.0


def mean(values: Iterable[float]) -> float:
    """The mean, 0 of nothing."""
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


async def measure(task: Task, folder: Path) -> bool:
    """Print one row of the table; whether it is above the floor."""
    corpus = list(read_rows(folder / task.corpus))
    search_ranked, search_gated = search_functions(task, corpus, folder)
    relevant = read_judgements(folder / task.qrels)
    ndcgs, recalls, gated, times = [], [], [], []
    for query in read_rows(folder / task.queries):
        start = time.perf_counter()
        hits = await search_ranked(query["text"])
        times.append(time.perf_counter() - start)
        relevant_ids = relevant.get(query["_id"], set())
        found = [i for i in (corpus[p]["_id"] for p in hits) if i != query.get("exclude")]
        ndcgs.append(ndcg(found, relevant_ids, 5))
        recalls.append(
            len(relevant_ids & set(found[:10])) / min(10, len(relevant_ids))
            if relevant_ids
            else 0.0
        )
        kept = [corpus[p]["_id"] for p in await search_gated(query["text"])]
        gated += [id_ in relevant_ids for id_ in [i for i in kept if i != query.get("exclude")][:3]]
    got, recall = mean(ndcgs), mean(recalls)
    precision = mean(gated)
    passed = got >= task.ndcg5 and recall >= task.recall10 and precision >= task.gate
    print(
        f"{task.name:30} nDCG@5 {got:.3f} (>= {task.ndcg5:.2f})  "
        f"R@10 {recall:.3f} (>= {task.recall10:.2f})  precision@<=3 at {_MIN_SHARE}: "
        f"{precision:.3f} (>= {task.gate:.2f}) of {len(gated) / len(times):.1f}  "
        f"{mean(times) * 1000:.2f} ms  {'ok' if passed else 'BELOW'}"
    )
    return passed


def weighted_fields(corpus: list[dict[str, Any]]) -> list[list[tuple[str, int]]]:
    """Title twice, text once, as the catalogue weighs them."""
    return [[(row["title"], 2), (row.get("text") or "", 1)] for row in corpus]


@cache
def vector_index(file: Path) -> HybridIndex:
    """The index of a corpus with its vectors, made once."""
    corpus = list(read_rows(file))
    hybrid = HybridIndex(
        weighted_fields(corpus), [f"{row['title']} {row.get('text') or ''}" for row in corpus]
    )
    hybrid.embed(get_embedder())
    return hybrid


def search_functions(
    task: Task, corpus: list[dict[str, Any]], folder: Path
) -> tuple[Search, Search]:
    """What ranks everything, and what passes the gate: positions, best first."""
    if not task.embed:
        index = Bm25Index(weighted_fields(corpus))

        async def ranked_lexical(text: str) -> list[int]:
            return [hit.position for hit in index.search(text, 12)]

        async def gated_lexical(text: str) -> list[int]:
            return [hit.position for hit in index.search(text, 12) if hit.relevance >= _MIN_SHARE]

        return ranked_lexical, gated_lexical
    hybrid = vector_index(folder / task.corpus)

    async def ranked_hybrid(text: str) -> list[int]:
        await wait_for_vector(text)
        return [hit.position for hit in await hybrid.search(text, 12, -1.0)]

    async def gated_hybrid(text: str) -> list[int]:
        await wait_for_vector(text)
        return [hit.position for hit in await hybrid.search(text, 12, _MIN_SHARE)]

    return ranked_hybrid, gated_hybrid


async def wait_for_vector(text: str) -> None:
    """Wait for a query's vector: a busy machine must not turn the row into a lexical one."""
    for _ in range(3000):
        if await get_embedder().embed_query(text) is not None:
            return
        await asyncio.sleep(0.01)
    sys.exit("timeout: a text has no vector")


@cache
def get_embedder() -> Embedder:
    """The encoder of the extra `embed`. Exits if it is not installed."""
    encoder, why_not = load_encoder()
    if encoder is None:
        sys.exit(f"no vectors: {why_not}")
    return Embedder(encoder)


async def main() -> bool:
    """Measure every task whose files exist; whether all reach their minimums."""
    named = [word for word in sys.argv[1:] if not word.startswith("--")]
    if len(named) != 1:
        sys.exit("usage: python -m loadtest.bench.retrieval_quality FOLDER [--embed]")
    folder = Path(named[0])
    wanted = VECTOR_TASKS if "--embed" in sys.argv else LEXICAL_TASKS
    available = [task for task in wanted if (folder / task.corpus).exists()]
    if not available:
        sys.exit(f"no quality sets in {folder}")
    return all([await measure(task, folder) for task in available])


if __name__ == "__main__":
    sys.exit(not asyncio.run(main()))
