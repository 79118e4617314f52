"""Masks personal data and secrets in texts and events. Pure; knows no tenant and keeps no state."""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal, get_args

from driftwheel.errors import ConfigError
from driftwheel.privacy.finders import (
    ACCOUNT_HINT,
    ACCOUNTS,
    COMPANIES,
    COMPANY_HINT,
    DATE,
    EMAILS,
    KEYS,
    LONG_NUMBER,
    NUMBERS,
    Finder,
    Kind,
)
from driftwheel_schemas import Feedback, Inference, Message, Text, ToolCall

Profile = Literal["off", "redact", "metadata-only"]
"""
How much text is kept: `redact` masks what is personal or secret, `metadata-only` keeps no text at all
(roles, names of tools and sizes stay), `off` changes nothing.
"""

Counts = Counter[Kind]
"""How often each kind was masked."""

_HASHED = re.compile(r"u_[0-9a-f]{32}")
_KEY_HINTS = (
    ("-", ("k-", "xox", "pat-", "-----BEGIN")),
    ("_", ("k_", "gh", "_pat_", "hf_", "npm_", "dw_")),
    ("J", ("eyJ",)),
    ("A", ("AKIA", "ASIA", "AIza")),
)


class Redactor:
    """
    Masks what a profile does not let through. Linear in the length of the text, and twice is the same as once.

    >>> Redactor().redact("I am jane@example.com, card 4111 1111 1111 1111")[0]
    'I am [EMAIL], card [CARD]'
    """

    def __init__(self, profile: Profile = "redact") -> None:
        """Raises `ConfigError` for an unknown *profile*."""
        if profile not in get_args(Profile):
            raise ConfigError(f"privacy.profile: no profile called {profile!r}; known: {', '.join(sorted(get_args(Profile)))}")
        self.profile = profile

    def redact(self, text: str) -> tuple[str, Counts]:
        """*text* as the profile lets it through, and what was masked."""
        counts: Counts = Counter()
        return self._content(text, counts), counts

    def redact_inference(self, event: Inference) -> tuple[Inference, Counts]:
        """*event* with its prompt, response, error and attribute values masked; the same object where nothing was."""
        counts: Counts = Counter()
        if self.profile == "off" or (self.profile == "redact" and not _suspicious("\n".join(_said(event)))):
            return event, counts  # most events: one look at all their words costs 3 µs, field by field it is 7
        masked = {
            "prompt": self._text(event.prompt, counts),
            "response": self._text(event.response, counts),
            "error_type": _mask(event.error_type, counts),
            "attributes": _values(event.attributes, counts),
        }
        return (replace(event, **masked) if counts else event), counts  # type: ignore[arg-type]  # each under its own name

    def redact_feedback(self, event: Feedback) -> tuple[Feedback, Counts]:
        """*event* with its comment, correction and label masked; the same object where nothing was."""
        counts: Counts = Counter()
        if self.profile == "off":
            return event, counts
        comment, correction = self._content(event.comment, counts), self._content(event.correction, counts)
        label = _mask(event.label, counts)
        return (replace(event, comment=comment, correction=correction, label=label) if counts else event), counts

    def _text(self, text: Text, counts: Counts) -> Text:
        if isinstance(text, str):
            return self._content(text, counts)
        return tuple(self._message(message, counts) for message in text)

    def _message(self, message: Message, counts: Counts) -> Message:
        before = counts.total()
        content = self._content(message.content, counts)
        calls = tuple(self._call(call, counts) for call in message.tool_calls)
        uris = [_mask(attachment.uri, counts) for attachment in message.attachments]
        if counts.total() == before:
            return message
        attachments = tuple(replace(a, uri=uri) for a, uri in zip(message.attachments, uris, strict=True))
        return replace(message, content=content, tool_calls=calls, attachments=attachments)

    def _call(self, call: ToolCall, counts: Counts) -> ToolCall:
        arguments = self._content(call.arguments, counts)
        return call if arguments == call.arguments else replace(call, arguments=arguments)

    def _content(self, text: str, counts: Counts) -> str:
        if self.profile == "off" or not text:
            return text
        if self.profile == "metadata-only":
            counts["TEXT"] += 1
            return ""
        return _mask(text, counts)


def hash_user(user_id: str, *, secret: bytes, tenant: str) -> str:
    """
    A pseudonym for *user_id* that only the holder of *secret* can make again; tenants cannot compare theirs.

    HMAC-SHA256, 128 bits. An empty id stays empty and a pseudonym stays as it is, so that SDK and collector may both ask.

    >>> a = hash_user("jane", secret=b"s", tenant="x")
    >>> a == hash_user(a, secret=b"s", tenant="x"), a == hash_user("jane", secret=b"s", tenant="y"), len(a)
    (True, False, 34)
    """
    if not user_id or _HASHED.fullmatch(user_id):
        return user_id
    per_tenant = hmac.digest(secret, tenant.encode(), "sha256")
    return "u_" + hmac.new(per_tenant, user_id.encode(), hashlib.sha256).hexdigest()[:32]


def _said(event: Inference) -> Iterator[str]:
    """Every free text of *event*."""
    for text in (event.prompt, event.response):
        if isinstance(text, str):
            yield text
            continue
        for message in text:
            yield message.content
            if message.tool_calls or message.attachments:
                yield from (call.arguments for call in message.tool_calls)
                yield from (attachment.uri for attachment in message.attachments)
    yield event.error_type
    yield from event.attributes.values()


def _has_digit(text: str) -> bool:
    return any(digit in text for digit in "0123456789")  # memchr ten times: 0.6 µs per KiB, a regular expression 4


def _suspicious(text: str) -> bool:
    """Whether anything could be in *text*: without a digit only an address, or a key of Amazon's."""
    return _has_digit(text) or "@" in text or "AKIA" in text or "ASIA" in text


def _values(flat: Mapping[str, str], counts: Counts) -> Mapping[str, str]:
    return {key: _mask(value, counts) for key, value in flat.items()} if flat else flat


def _mask(text: str, counts: Counts) -> str:
    """The guards come first: a text without digits costs 1 µs per KiB, one with a few digits some 10."""
    if not _suspicious(text):
        return text
    digits = _has_digit(text)
    if any(mark in text and any(hint in text for hint in hints) for mark, hints in _KEY_HINTS):
        text = _apply(KEYS, text, counts)
    if "@" in text or (digits and "%40" in text):
        text = _apply(EMAILS, text, counts)
    if digits and ACCOUNT_HINT.search(text):
        text = _apply(ACCOUNTS, text, counts)
    if digits and COMPANY_HINT.search(text):
        text = _apply(COMPANIES, text, counts)
    return _numbers(text, counts) if digits else text


def _numbers(text: str, counts: Counts) -> str:
    """
    Only where a long number stands do the finders look: 100 µs per KiB otherwise, for every text with a date in it.

    They see it behind the words before it, since these may say `phone:`, and behind the last two characters of the
    number before these; the `_` stands for what they do not see, so that no number seems to begin there.
    """
    pieces: list[str] = []
    seen = ""
    done = 0
    for region in LONG_NUMBER.finditer(text):
        start = region.start()
        while start > done and start > region.start() - 2 and text[start - 1] in "+(":
            start -= 1
        gap = text[done:start]
        before = seen + gap if len(gap) <= 40 else "_" + gap[-40:]
        after = text[region.end() : region.end() + 1]
        masked = text[start : region.end()]
        if not DATE.fullmatch(masked):
            masked = _apply(NUMBERS, before + masked + after, counts)
            masked = masked[len(before) : len(masked) - len(after)]
        pieces += gap, masked
        seen = "_" + masked[-2:]
        done = region.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _apply(finders: tuple[Finder, ...], text: str, counts: Counts) -> str:
    for finder in finders:
        text = _replaced(finder, text, counts)
    return text


def _replaced(finder: Finder, text: str, counts: Counts) -> str:
    search: Callable[[str, int], re.Match[str] | None] = finder.pattern.search
    out: list[str] = []
    done = at = 0
    while found := search(text, at):
        end = finder.end(found)
        if end < 0:
            at = found.end() if finder.unbounded else found.start("m") + 1
            continue
        out += text[done : found.start("m")], f"[{finder.kind}]"
        counts[finder.kind] += 1
        done = at = end
    return "".join([*out, text[done:]]) if out else text
