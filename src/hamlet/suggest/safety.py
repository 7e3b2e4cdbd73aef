"""Text that is not shown, sent or followed: personal data, injected instructions, crises."""

from __future__ import annotations

import re
from dataclasses import replace

from hamlet.core.text import split_sentences
from hamlet.suggest.model import SuggestRequest
from hamlet.suggest.retrieval import tokenize

PII = re.compile(
    r"[\w.+-]+@[\w-]+\.[\w.]+|\d{2,4}[- ]\d{3,4}[- ]\d{4}|\d{6}-?[1-4]\d{6}|\b(?:\d[ -]?){13,16}\b"
)
"""E-mail addresses, and the numbers of telephones, Korean identity cards and payment cards."""
INJECTION = re.compile(
    r"(?i)(?:ignore|disregard|forget)\b.{0,30}\b(?:instruction|prompt|rule|above|previous)"
    r"|system prompt|jailbreak|(?:이전|위의?|앞의?)\s*(?:지시|명령|규칙|프롬프트)"
    r"|시스템 프롬프트|(?:以前|前|上記)の(?:指示|命令)|指示を無視|システムプロンプト"
)
"""Instructions to a model, as pages carry them: https://genai.owasp.org/llmrisk/llm01-prompt-injection/"""
_CRISIS = re.compile(
    r"(?i)죽고\s*싶|자살|자해|목숨을\s*끊|살기\s*싫|死にたい|自殺|自傷|消えたい|"
    r"kill myself|suicid|self[- ]?harm|want to die|end my life|hurt myself"
)
_MAX_INJECTED_SHARE = 0.3


def has_pii(text: str) -> bool:
    """Whether a text contains personal data."""
    return bool(PII.search(text))


def mentions_crisis(text: str) -> bool:
    """Whether a person may be in danger. Then only approved help lines are shown."""
    return bool(_CRISIS.search(text))


def strip_injections(request: SuggestRequest) -> SuggestRequest:
    """The request without the sentences of its page that instruct a model."""
    title, title_injection = split_injections(request.page_title)
    text, text_injection = split_injections(request.page_text)
    injected_text = f"{title_injection} {text_injection}".strip()
    return (
        replace(request, page_title=title, page_text=text, injected_text=injected_text)
        if injected_text
        else request
    )


def split_injections(text: str) -> tuple[str, str]:
    """A text without its sentences that instruct a model, and those sentences."""
    if not INJECTION.search(text):
        return text, ""
    parts = split_sentences(text)
    injections = [part for part in parts if INJECTION.search(part)]
    clean = [part for part in parts if not INJECTION.search(part)]
    return " ".join(clean), " ".join(injections)


def repeats_injection(label: str, injected_text: str, context: str) -> bool:
    """Whether a label shares terms with the injected text that the rest of the context lacks."""
    if not injected_text:
        return False
    label_tokens = set(tokenize(label))
    injected_only = set(tokenize(injected_text)) - set(tokenize(context))
    return len(label_tokens & injected_only) >= max(1, len(label_tokens) * _MAX_INJECTED_SHARE)
