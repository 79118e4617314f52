"""Driftwheel: watches LLM applications in production and turns what it sees into better models."""
