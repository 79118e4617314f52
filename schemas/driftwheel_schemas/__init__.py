"""The contract: the events, their identity and the topics they travel on. Standard library only."""

from driftwheel_schemas.events import (
    EVENTS,
    Attachment,
    DeadLetter,
    Feedback,
    Incident,
    Inference,
    Job,
    Message,
    Observation,
    Promotion,
    Severity,
    Text,
    ToolCall,
    Trigger,
    Verdict,
)
from driftwheel_schemas.ids import derived_id, new_id, partition_of
from driftwheel_schemas.texts import text_of, tool_calls_of
from driftwheel_schemas.topics import Topic, dead_letters_of, topics

__all__ = [
    "EVENTS",
    "Attachment",
    "DeadLetter",
    "Feedback",
    "Incident",
    "Inference",
    "Job",
    "Message",
    "Observation",
    "Promotion",
    "Severity",
    "Text",
    "ToolCall",
    "Topic",
    "Trigger",
    "Verdict",
    "dead_letters_of",
    "derived_id",
    "new_id",
    "partition_of",
    "text_of",
    "tool_calls_of",
    "topics",
]
