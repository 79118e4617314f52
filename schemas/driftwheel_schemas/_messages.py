"""
Chat in the shapes that providers and tracers use → the contract's messages.

Read here: OpenAI (chat, completions, Responses), Anthropic, Gemini, Bedrock Converse, OpenTelemetry `parts`, LangChain, ShareGPT.
Pure; the standard library only. Data is as JSON decodes it: dicts, lists (or tuples), strings, numbers.
"""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from driftwheel_schemas.events import Attachment, Message, Text, ToolCall

Loose = Mapping[str, object]

_ROLES = {"human": "user", "ai": "assistant", "gpt": "assistant", "model": "assistant"}
_LANGCHAIN = frozenset({"human", "ai", "system", "tool"})
_THOUGHTS = frozenset({"reasoning", "thinking", "redacted_thinking"})
_WORDS = frozenset({"", "text", "input_text", "output_text", "refusal"})
_CALLS = frozenset({"tool_use", "tool_call", "function_call", "custom_tool_call", "server_tool_use", "server_tool_call"})
_RESULTS = frozenset({"tool_result", "tool_call_response", "function_call_output", "custom_tool_call_output", "server_tool_call_response"})
_CALL_KEYS = ("function", "custom", "function_call", "functionCall", "toolUse")
_RESULT_KEYS = ("functionResponse", "function_response", "toolResult")
_WRAPPED = (*_CALL_KEYS[2:], *_RESULT_KEYS, "inlineData", "inline_data", "fileData", "file_data")
_MAX_URI = 2048


def text(value: object, role: str = "user") -> Text:
    """
    Any usual form of a prompt or an answer as the contract's `Text`; *role* is who speaks where the form does not say.

    A part that is no text becomes an `Attachment` (kind, size and SHA-256 of the decoded bytes; never the bytes).
    Thoughts (`reasoning`, `thinking`) are left out: they were not said. A list of strings is joined by line ends,
    other data becomes JSON text. A string stays what it is, even where it holds JSON.

    >>> text([{"role": "user", "content": [{"type": "text", "text": "What is this?"}]}])
    (Message(role='user', content='What is this?', tool_calls=(), tool_call_id='', attachments=()),)
    >>> text({"choices": [{"message": {"role": "assistant", "content": "A lamp."}}]})[0].content
    'A lamp.'
    """
    value = _unwrapped(value)
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        if value and all(isinstance(item, str) for item in value):
            return clean("\n".join(map(str, value)))
        return tuple(_conversation(value, role))
    if isinstance(value, dict) and (_is_message(value) or _is_part(value)):
        return tuple(_conversation([value], role))
    return words(value)


def words(value: object) -> str:
    """*value* as clean text: a string as it is, bytes as UTF-8, anything else as JSON."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    return "" if value is None else clean(json.dumps(value, ensure_ascii=False, default=str))


def clean(said: str) -> str:
    """
    *said* without lone surrogates, which no UTF-8 can carry: a pair becomes its character, a lone one U+FFFD.

    >>> clean("a" + chr(0xD83D) + chr(0xDE00) + chr(0xD800)) == "a" + chr(0x1F600) + chr(0xFFFD)
    True
    """
    if said.isascii():
        return said
    try:
        said.encode()
    except UnicodeEncodeError:
        return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return said


def first(value: Loose, *names: str) -> object:
    """The first of *names* that *value* has, as it is; `None` where it has none of them or only `None`."""
    for name in names:
        if (found := value.get(name)) is not None:
            return found
    return None


@dataclass(slots=True)
class _Parts:
    """What a message is made of, sorted by kind while its parts are read."""

    said: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    files: list[Attachment] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)

    def add(self, part: object) -> None:
        if part is None:
            return
        if not isinstance(part, dict):
            self.said.append(words(part))
            return
        kind = str(part.get("type") or "")
        if kind in _THOUGHTS or part.get("thought") is True:
            return
        if kind in _RESULTS or any(key in part for key in _RESULT_KEYS):
            self.results.append(_result(part))
        elif kind in _CALLS or any(key in part for key in _CALL_KEYS):
            self.calls.append(_tool_call(part))
        elif (said := _words_of(part, kind)) is not None:
            self.said.append(said)
        elif _is_part(part):
            self.files.append(_attachment(part, kind))
        else:
            self.said.append(words(part))

    def add_all(self, content: object) -> None:
        for part in content if isinstance(content, list | tuple) else [content]:
            self.add(part)

    def messages(self, role: str, tool_call_id: str = "") -> Iterator[Message]:
        """The message, behind the results of tools that came inside it (a message answers one call only)."""
        yield from self.results
        if self.said or self.calls or self.files or not self.results:
            yield Message(
                role=role,
                content="\n".join(said for said in self.said if said),
                tool_calls=tuple(self.calls),
                tool_call_id=tool_call_id,
                attachments=tuple(self.files),
            )


def _unwrapped(value: object) -> object:
    """What was said inside a provider's whole request or answer; of several choices the first."""
    if not isinstance(value, dict) or "role" in value:
        return value
    if isinstance(choices := value.get("choices"), list | tuple) and choices and isinstance(choice := choices[0], dict):
        return first(choice, "message", "delta", "text")
    if isinstance(candidates := value.get("candidates"), list | tuple) and candidates and isinstance(candidates[0], dict):
        return candidates[0].get("content")
    if isinstance(said := first(value, "messages", "contents"), list | tuple):
        system = value.get("system")
        return [*([{"role": "system", "content": system}] if system else []), *said]
    if isinstance(output := value.get("output"), dict) and "message" in output:
        return output["message"]
    return value["output"] if isinstance(value.get("output"), list | tuple) else value


def _conversation(items: Sequence[object], role: str) -> Iterator[Message]:
    """The messages in *items*; parts that stand between messages without one make a message of *role*."""
    loose: list[object] = []
    for item in items:
        if isinstance(item, dict) and _is_message(item):
            yield from _speechless(loose, role)
            loose = []
            yield from _message(item, role)
        else:
            loose.append(item)
    yield from _speechless(loose, role)


def _speechless(items: list[object], role: str) -> Iterator[Message]:
    if items:
        parts = _Parts()
        parts.add_all(items)
        yield from parts.messages("assistant" if parts.calls else role)


def _message(value: Loose, role: str) -> Iterator[Message]:
    said, content = value.get("role"), value.get("content")
    if len(value) == 2 and isinstance(said, str) and isinstance(content, str):  # by far the most common shape
        yield Message(role=_ROLES.get(said, said), content=clean(content))
        return
    parts = _Parts()
    parts.add_all(first(value, "content", "parts", "value", "text"))
    parts.add_all(value.get("refusal"))
    calls = value.get("tool_calls")
    for call in [*(calls if isinstance(calls, list | tuple) else ()), value.get("function_call")]:
        if isinstance(call, dict):
            parts.calls.append(_tool_call(call))
    if isinstance(audio := value.get("audio"), dict):
        parts.add(audio.get("transcript"))
        parts.files.append(_attachment(audio, "audio"))
    who = str(first(value, "role", "from", "type") or role)
    yield from parts.messages(_ROLES.get(who, who), words(first(value, "tool_call_id", "call_id")))


def _is_message(value: Loose) -> bool:
    return any(key in value for key in ("role", "from", "parts", "tool_calls")) or (
        str(value.get("type")) in _LANGCHAIN and "content" in value
    )


def _is_part(value: Loose) -> bool:
    return isinstance(value.get("type"), str) or isinstance(value.get("text"), str) or any(key in value for key in _WRAPPED)


def _words_of(part: Loose, kind: str) -> str | None:
    if isinstance(said := first(part, "text", "refusal"), str):
        return clean(said)
    if kind in _WORDS and (said := first(part, "text", "content", "value")) is not None:
        return words(said)
    return None


def _inner(value: Loose, keys: Sequence[str]) -> Loose:
    """What lies under the first of *keys*, where a shape wraps what it says once more; else *value* itself."""
    return next((found for key in keys if isinstance(found := value.get(key), dict)), value)


def _tool_call(value: Loose) -> ToolCall:
    call = _inner(value, _CALL_KEYS)
    said = first(call, "arguments", "args", "input", "parameters")
    return ToolCall(
        id=words(first(value, "call_id", "id") or first(call, "id", "toolUseId")),
        name=words(call.get("name")),
        arguments=words(said),
    )


def _result(value: Loose) -> Message:
    result = _inner(value, _RESULT_KEYS)
    inside = _Parts()
    inside.add_all(first(result, "content", "response", "output", "result"))
    return Message(
        role="tool",
        content="\n".join(inside.said),
        tool_call_id=words(first(result, "tool_use_id", "call_id", "toolUseId", "id")),
        attachments=tuple(inside.files),
    )


def _attachment(part: Loose, kind: str) -> Attachment:
    flat = dict(part)
    for nested in part.values():
        if isinstance(nested, dict):
            flat |= nested
    data = first(flat, "data", "file_data", "b64_json") or (flat.get("content") if kind == "blob" else None)
    uri = first(flat, "url", "uri", "file_uri", "fileUri", "image_url", "video_url", "file_id")
    media = first(flat, "media_type", "mime_type", "mimeType", "mediaType") or _media_of(kind, flat)
    for link in (uri, data):
        if isinstance(link, str) and link.startswith("data:"):
            head, _, data = link.partition(",")
            media, uri = head[5:].split(";")[0] or media, None
    raw = _decoded(data) if data is not None or uri is not None else words(part).encode()
    return Attachment(
        media_type=words(media),
        size_bytes=len(raw),
        sha256=sha256(raw).hexdigest() if raw else "",
        uri=words(uri)[:_MAX_URI],
    )


def _media_of(kind: str, flat: Loose) -> str:
    """The kind of media, as far as the part's own type tells it: `image/*`, `audio/wav`, or the type itself."""
    said = f"{kind} {flat.get('modality') or ''}"
    for media in ("image", "audio", "video"):
        if media in said:
            return f"{media}/{flat['format'] if isinstance(flat.get('format'), str) else '*'}"
    return "application/octet-stream" if "file" in kind or not kind else kind


def _decoded(data: object) -> bytes:
    """The bytes behind base64 text; text that is no base64 (a document given as it is) stands for itself."""
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    said = words(data)
    try:
        return b64decode(said, validate=True)
    except ValueError:
        return said.encode()
