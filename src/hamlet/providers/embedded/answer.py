"""What the embedded model says: quotations from what it was given, and what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hamlet.core import ChatRequest, Message, Text, ToolResult
from hamlet.core.text import Language, grams, language, sentences

_MOST_QUOTES = 3
_LONG_ENOUGH = 2

_WHAT_I_AM = {
    "ko": "저는 hamlet에 내장된 모델입니다. 네트워크도 키도 쓰지 않고, 배운 지식 없이 "
    "주어진 글에서 문장을 골라 인용하기만 합니다.",
    "en": "I am hamlet's embedded model: no network, no key and no learned knowledge. "
    "All I do is pick sentences from what I am given.",
    "ja": "私はhamletに組み込まれたモデルです。ネットワークもキーも使わず、学習した知識もなく、"
    "与えられた文章から文を選んで引用するだけです。",
}
_FROM_TEXT = {
    "ko": "주신 글에서 가장 관련 있는 부분입니다.",
    "en": "This is what fits best in the text you gave:",
    "ja": "いただいた文章の中で最も関係のある部分です。",
}
_FROM_TOOLS = {
    "ko": "도구가 돌려준 결과입니다.",
    "en": "This is what the tools returned:",
    "ja": "ツールが返した結果です。",
}
_HOW_TO = {
    "ko": "“{topic}”에 답하려면 읽을 글이 필요합니다. 글을 붙여 넣고 다시 물어보시거나, "
    "설정에 실제 모델을 연결해 주세요.",
    "en": "To say something about “{topic}” I need a text to read. Paste one and ask again, "
    "or connect a real model in the config.",
    "ja": "「{topic}」について答えるには読む文章が必要です。文章を貼り付けてもう一度聞くか、"
    "設定で本物のモデルをつないでください。",
}


def answer(request: ChatRequest) -> str:
    """The whole answer to a conversation."""
    question = last_user_text(request.messages)
    tongue: Language = language(question) or "en"
    if results := _results(request.messages):
        return f"{_FROM_TOOLS[tongue]}\n\n{results}\n\n{_WHAT_I_AM[tongue]}"
    quotes = best_sentences(question, _material(request.messages, question), _MOST_QUOTES)
    if not quotes:
        topic = " ".join(question.split())[:60] or "…"
        return f"{_WHAT_I_AM[tongue]} {_HOW_TO[tongue].format(topic=topic)}"
    lines = "\n".join(f"- {quote}" for quote in quotes)
    return f"{_FROM_TEXT[tongue]}\n\n{lines}\n\n{_WHAT_I_AM[tongue]}"


def last_user_text(messages: Sequence[Message]) -> str:
    """What the user said last."""
    return next((m.text for m in reversed(messages) if m.role == "user" and m.text), "")


def all_text(messages: Iterable[Message]) -> str:
    """Everything that was said, the latest last."""
    return "\n".join(message.text for message in messages if message.text)


def best_sentences(question: str, material: Sequence[str], most: int) -> list[str]:
    """The sentences that share most with the question, in their own order."""
    asked = Counter(grams(question))
    common = Counter(gram for sentence in material for gram in set(grams(sentence)))
    scores = [
        sum(asked[gram] / common[gram] for gram in set(grams(sentence)) if gram in asked)
        for sentence in material
    ]
    ranked = sorted(range(len(material)), key=lambda i: (-scores[i], i))[:most]
    return [material[i] for i in sorted(ranked)]


def _material(messages: Sequence[Message], question: str) -> list[str]:
    """Sentences to quote: the user's own text if it is a passage, and what was said before."""
    own = sentences(question)
    passage = own if len(own) > _LONG_ENOUGH else []
    before = [
        sentence
        for message in messages
        if message.role in ("system", "user") and message.text != question
        for sentence in sentences(message.text)
    ]
    return list(dict.fromkeys(before + passage))


def _results(messages: Sequence[Message]) -> str:
    if not messages or messages[-1].role != "tool":
        return ""
    return "\n".join(
        part.text
        for result in messages[-1].parts
        if isinstance(result, ToolResult)
        for part in result.parts
        if isinstance(part, Text)
    )
