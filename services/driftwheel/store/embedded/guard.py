"""
What no statement may do, whoever sends it: reach files or memory of this process, or smuggle in a second statement.

The engine's grants (config.py) already refuse every source: file(), url(), s3(), remote() and the like as functions,
engines, dictionaries and backups. Left are `INTO OUTFILE`, which the engine carries out even when it may only read,
and the functions below, which need no grant; they can be called, APPLYed, and written into texts that the engine takes
for SQL.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.tokens import NOTHING, Token, tokens

OUTSIDE = frozenset({b"FILE", b"PYTHON", b"EVAL", b"ARROWSTREAM", b"EXECUTABLE", b"EXECUTABLEPOOL", b"EXECUTABLE_POOL"})
"""`file` reads any file, `python` and `arrowstream` look for objects in this process, `eval` runs text as SQL, `executable` runs programs."""

EXPRESSIONS = frozenset({b"ADDITIONAL_TABLE_FILTERS", b"ADDITIONAL_RESULT_FILTER", b"PARALLEL_REPLICAS_CUSTOM_KEY"})
"""Settings whose text is SQL; Grafana's ad-hoc filters use the first."""

LITERALS_ONLY = {"input_format_values_interpret_expressions": "0", "input_format_values_deduce_templates_of_expressions": "0"}

_CLAUSES = frozenset({b"SELECT", b"FROM", b"WHERE", b"PREWHERE", b"GROUP", b"ORDER", b"HAVING", b"LIMIT", b"SETTINGS", b"WITH", b"UNION"})
_TABLE_COMES = frozenset({b"FROM", b"JOIN", b"TABLE", b"FUNCTION", b"AS", b"DESCRIBE", b"DESC"})
_MARKS = re.compile(rb"^(?:[\"`]|\xe2\x80\x9c)|(?:[\"`]|\xe2\x80\x9d)$")
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)|''", re.DOTALL)
_SUSPICIOUS = re.compile(rb"(?i)file|python|eval|executable|arrowstream|[\"`][^\"`]*\\")


@dataclass(slots=True)
class Guard:
    """Reads the tokens of one statement. Raises `Failure` at the first that is forbidden."""

    last: Token = NOTHING
    before: Token = NOTHING
    word: bytes = b""
    clauses: list[bytes] = field(default_factory=lambda: [b""])
    texts: list[bytes] = field(default_factory=list)
    nested: bool = False

    def read(self, token: Token) -> None:
        """Take in *token*."""
        if token.kind == "word":
            if (self.word, token.text) in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
                raise Failure(48, "INTO OUTFILE and FROM INFILE are not allowed over HTTP")
            self.word = token.text
            self.nested = self.nested or token.text in EXPRESSIONS
            if token.text in _CLAUSES:
                self.clauses[-1] = token.text
        elif token.kind == "string":
            self.texts.append(token.text)
        self._calls(token)
        if token.text == b"(":
            self.clauses.append(b"")
        elif token.text == b")" and len(self.clauses) > 1:
            self.clauses.pop()
        self.before, self.last = self.last, token

    def _calls(self, token: Token) -> None:
        if token.text == b"(" and self.last.kind in ("word", "name"):
            name = _name(self.last)
            if name in OUTSIDE:
                raise _outside(name)
            table = self.before.text in _TABLE_COMES or self.clauses[-1] == b"FROM"
            if name == b"FORMAT" and table:  # its text of columns may have DEFAULTs, which are SQL, and need not be a literal
                raise _outside(name)
        applied = self.last.text == b"APPLY" or (self.last.text == b"(" and self.before.text == b"APPLY")
        if applied and token.kind in ("word", "name") and _name(token) in OUTSIDE:
            raise _outside(_name(token))

    def finish(self, values: Iterable[str] = ()) -> None:
        """Look into the texts that the statement hands to the engine as SQL; *values* are those of its parameters."""
        if self.nested:
            for text in self.texts:
                check(_plain(text), nested=True)
            for value in values:
                check(value.encode())


def check(sql: bytes, *, nested: bool = False) -> None:
    """Raises `Failure` for an expression or a list of columns that is forbidden; *nested*: its texts are SQL as well."""
    guard = Guard(nested=nested)
    for token in tokens(sql):
        guard.read(token)
    guard.finish()


def literals_only(statement: bytes, data: Iterable[bytes]) -> dict[str, str]:
    """
    Settings under which the VALUES in *data* are literals and nothing else, where they might be forbidden expressions.

    >>> literals_only(b"INSERT INTO t", [b"('a profile', now())"])["input_format_values_interpret_expressions"]
    '0'
    >>> literals_only(b"INSERT INTO t", [b"('a', now())"])
    {}
    """
    if not any(_SUSPICIOUS.search(piece) for piece in data):
        return {}
    if b"input_format_values" in statement.lower():
        raise _outside(b"file")
    return LITERALS_ONLY


def _name(token: Token) -> bytes:
    name = _MARKS.sub(b"", token.text).upper()
    if token.kind == "name" and b"\\" in name:
        raise Failure(497, "a quoted name of a function may have no escapes in it")
    return name


def _plain(literal: bytes) -> bytes:
    """What a string literal says."""
    if literal[:1] != b"'":
        return literal.strip(b"$\xe2\x80\x98\x99")

    def one(found: re.Match[bytes]) -> bytes:
        escape = found[1] or b"'"
        return bytes([int(escape[1:], 16)]) if len(escape) == 3 else escape

    return _ESCAPE.sub(one, literal[1:-1])


def _outside(name: bytes) -> Failure:
    return Failure(497, f"{name.decode('utf-8', 'replace').lower()}() reaches outside the store and is not allowed")
