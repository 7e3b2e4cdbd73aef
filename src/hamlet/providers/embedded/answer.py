"""The texts of the embedded model: quotations from its input, and a self-description."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hamlet.core import ChatRequest, Message, Text, ToolResult
from hamlet.core.text import Language, detect_language, split_sentences, tokenize

_MAX_QUOTES = 3
_MAX_QUESTION_SENTENCES = 2

_SELF_DESCRIPTION = {
    "ko": "저는 hamlet에 내장된 모델입니다. 네트워크도 키도 쓰지 않고, 배운 지식 없이 "
    "주어진 글에서 문장을 골라 인용하기만 합니다.",
    "en": "I am hamlet's embedded model: no network, no key and no learned knowledge. "
    "All I do is pick sentences from what I am given.",
    "ja": "私はhamletに組み込まれたモデルです。ネットワークもキーも使わず、学習した知識もなく、"
    "与えられた文章から文を選んで引用するだけです。",
}
_QUOTES_INTRO = {
    "ko": "주신 글에서 가장 관련 있는 부분입니다.",
    "en": "This is what fits best in the text you gave:",
    "ja": "いただいた文章の中で最も関係のある部分です。",
}
_TOOL_RESULTS_INTRO = {
    "ko": "도구가 돌려준 결과입니다.",
    "en": "This is what the tools returned:",
    "ja": "ツールが返した結果です。",
}
_NO_MATERIAL_HINT = {
    "ko": "“{topic}”에 답하려면 읽을 글이 필요합니다. 글을 붙여 넣고 다시 물어보시거나, "
    "설정에 실제 모델을 연결해 주세요.",
    "en": "To say something about “{topic}” I need a text to read. Paste one and ask again, "
    "or connect a real model in the config.",
    "ja": "「{topic}」について答えるには読む文章が必要です。文章を貼り付けてもう一度聞くか、"
    "設定で本物のモデルをつないでください。",
}


def compose_answer(request: ChatRequest) -> str:
    """The text of the response to a conversation."""
    question = last_user_text(request.messages)
    lang: Language = detect_language(question) or "en"
    if results := _tool_results_text(request.messages):
        return f"{_TOOL_RESULTS_INTRO[lang]}\n\n{results}\n\n{_SELF_DESCRIPTION[lang]}"
    quotes = best_sentences(question, _quotable_sentences(request.messages, question), _MAX_QUOTES)
    if not quotes:
        topic = " ".join(question.split())[:60] or "…"
        return f"{_SELF_DESCRIPTION[lang]} {_NO_MATERIAL_HINT[lang].format(topic=topic)}"
    lines = "\n".join(f"- {quote}" for quote in quotes)
    return f"{_QUOTES_INTRO[lang]}\n\n{lines}\n\n{_SELF_DESCRIPTION[lang]}"


def last_user_text(messages: Sequence[Message]) -> str:
    """The last text of the user."""
    return next((m.text for m in reversed(messages) if m.role == "user" and m.text), "")


def all_text(messages: Iterable[Message]) -> str:
    """All texts of a conversation, joined."""
    return "\n".join(message.text for message in messages if message.text)


def best_sentences(question: str, candidates: Sequence[str], max_count: int) -> list[str]:
    """The sentences that share the most with the question, in their original order."""
    question_grams = Counter(tokenize(question))
    document_frequency = Counter(
        gram for sentence in candidates for gram in set(tokenize(sentence))
    )
    scores = [
        sum(
            question_grams[gram] / document_frequency[gram]
            for gram in set(tokenize(sentence))
            if gram in question_grams
        )
        for sentence in candidates
    ]
    ranked = sorted(range(len(candidates)), key=lambda i: (-scores[i], i))[:max_count]
    return [candidates[i] for i in sorted(ranked)]


def _quotable_sentences(messages: Sequence[Message], question: str) -> list[str]:
    """Sentences to quote: of earlier messages, and of the question if it is a longer passage."""
    own = split_sentences(question)
    passage = own if len(own) > _MAX_QUESTION_SENTENCES else []
    earlier_sentences = [
        sentence
        for message in messages
        if message.role in ("system", "user") and message.text != question
        for sentence in split_sentences(message.text)
    ]
    return list(dict.fromkeys(earlier_sentences + passage))


def _tool_results_text(messages: Sequence[Message]) -> str:
    if not messages or messages[-1].role != "tool":
        return ""
    return "\n".join(
        part.text
        for result in messages[-1].parts
        if isinstance(result, ToolResult)
        for part in result.parts
        if isinstance(part, Text)
    )
