"""Redaction and pseudonyms, shared by the SDK and the collector. Standard library only, pure, linear time."""

from driftwheel.privacy.finders import Kind
from driftwheel.privacy.redactor import Counts, Profile, Redactor, hash_user

__all__ = ["Counts", "Kind", "Profile", "Redactor", "hash_user"]
