"""What is in a prompt or a response, plain text or messages."""

from driftwheel_schemas.events import Text, ToolCall


def text_of(text: Text, role: str = "") -> str:
    """
    The words in a prompt or a response; of messages, those of the last one that has *role* (any role if empty).

    >>> text_of("hello")
    'hello'
    >>> from driftwheel_schemas.events import Message
    >>> text_of((Message(role="system", content="Be kind."), Message(role="user", content="Hi")), "user")
    'Hi'
    """
    if isinstance(text, str):
        return text
    said = [m.content for m in text if m.content and (not role or m.role == role)]
    return said[-1] if said else ""


def tool_calls_of(text: Text) -> tuple[ToolCall, ...]:
    """The tool calls in a prompt or a response, in order."""
    return () if isinstance(text, str) else tuple(call for message in text for call in message.tool_calls)
