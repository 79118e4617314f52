"""What a statement is, told from its tokens: where its FORMAT stands and where the data of an INSERT begin."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from driftwheel.store.embedded.failure import Failure
from driftwheel.store.embedded.guard import Guard
from driftwheel.store.embedded.tokens import NOTHING, Token, tokens

MAX_STATEMENT = 8 << 20
"""8 MiB of SQL without the data of an INSERT: the engine itself parses 256 KiB unless told otherwise."""

_FROM = frozenset({b"FROM", b"JOIN", b"IN", b"UNION", b"ALL", b"DISTINCT", b"EXCEPT", b"INTERSECT", b"AS", b""})
_BEFORE_DATA = re.compile(rb"[ \t\f]*;?[ \t\f]*\r?\n?")


class Kind(Enum):
    """How a statement is run."""

    SELECT = "streams"
    INSERT = "takes data"
    OTHER = "answers at once"


@dataclass(frozen=True, slots=True)
class Statement:
    """
    A statement, cut at its end or where its data begin; *first* is its first word.

    *format* is the one its text names, with its place; *scalar* says that it may hold scalar subqueries, which the
    engine runs even when it only describes; *stateful* that it changes its session.
    """

    text: bytes
    kind: Kind
    first: bytes = b""
    format: str = ""
    format_at: tuple[int, int] = (0, 0)
    clause_at: int = 0
    data: bytes | None = None
    scalar: bool = False
    stateful: bool = False

    def as_format(self, fmt: str) -> bytes:
        """
        The text with another FORMAT in the place of its own.

        >>> statement(b"SELECT 1 FORMAT JSON SETTINGS max_threads=1; -- so").as_format("CSV")
        b'SELECT 1 FORMAT CSV SETTINGS max_threads=1'
        """
        if not self.format:
            return self.text
        start, end = self.format_at
        return self.text[:start] + fmt.encode() + self.text[end:]

    def described(self) -> bytes:
        """The DESCRIBE that tells the types of this SELECT under the settings of its own text."""
        if not self.format:
            return b"DESCRIBE TABLE (" + self.text + b"\n)"
        return b"DESCRIBE TABLE (" + self.text[: self.clause_at] + b"\n) FORMAT JSONCompact" + self.text[self.format_at[1] :]


def statement(sql: bytes, values: Iterable[str] = ()) -> Statement:
    r"""
    Read *sql*; *values* are those of its parameters.

    Raises `Failure` for several statements, more than 8 MiB of text, and for what guard.py forbids.

    >>> (told := statement(b"INSERT INTO t (a) FORMAT CSV\n1,2")).kind, told.text, told.format, told.data
    (<Kind.INSERT: 'takes data'>, b'INSERT INTO t (a)', 'CSV', b'1,2')
    """
    scan = _Scan(sql)
    for token in tokens(sql):
        if token.start > MAX_STATEMENT:
            raise Failure(229, f"a statement may have {MAX_STATEMENT} bytes; send values as data or as parameters")
        if scan.read(token):
            break
    scan.guard.finish(values)
    return scan.statement()


@dataclass(slots=True)
class _Scan:
    """Reads token by token and remembers what matters."""

    sql: bytes
    words: list[bytes] = field(default_factory=list)
    last: Token = NOTHING
    before: Token = NOTHING
    guard: Guard = field(default_factory=Guard)
    clause: tuple[Token, Token] | None = None
    data_at: int = -1
    select: bool = False
    ended: bool = False
    scalar: bool = False
    brackets: list[bool] = field(default_factory=list)
    end: int = 0

    def read(self, token: Token) -> bool:
        """Take in *token*; True once the rest is data."""
        if token.text == b";":
            self.ended = True
            return False
        if self.ended:
            raise Failure(62, "Syntax error (Multi-statements are not allowed): send one statement at a time")
        self.guard.read(token)
        if token.text == b"(" and self.last.text == b"INPUT" and self.words[:1] == [b"INSERT"]:
            # the engine would take the statement and drop its data
            raise Failure(48, "INSERT ... SELECT FROM input() is not supported here; insert the data into a table")
        done = self._insert(token) if self.words[:1] == [b"INSERT"] and not self.brackets else False
        if not done:
            self._structure(token)
            self.before, self.last, self.end = self.last, token, token.end
        return done

    def _insert(self, token: Token) -> bool:
        """Looks for the place where the data of an INSERT begin."""
        named = self.last.text in (b"INTO", b"TABLE", b"FUNCTION", b".") or token.kind != "word"
        if self.select:
            return False
        if self.last.text == b"FORMAT" and self.before.text not in (b"INTO", b"TABLE", b".") and token.kind == "word":
            self.clause, self.data_at = (self.last, token), token.end
            return True
        if not named and token.text == b"VALUES":
            self.clause, self.data_at = (token, token), token.end
            return True
        self.select = not named and token.text in (b"SELECT", b"WITH")
        return False

    def _structure(self, token: Token) -> None:
        if token.text in (b"(", b"[", b"{"):
            inherited = self.brackets[-1] if self.brackets and self.last.text == b"(" else None
            self.brackets.append(self.last.text not in _FROM if inherited is None else inherited)
        elif token.text in (b")", b"]", b"}"):
            del self.brackets[-1:]
        elif token.kind == "word":
            if len(self.words) < 4:
                self.words.append(token.text)
            self.scalar = self.scalar or (token.text in (b"SELECT", b"WITH") and any(self.brackets[-1:]))
        if not self.brackets:
            self._format(token)

    def _format(self, token: Token) -> None:
        """A FORMAT clause: the word, a name, and then nothing or SETTINGS."""
        if self.last.text == b"FORMAT" and token.kind == "word" and self.before.text not in (b"AS", b",", b"."):
            self.clause = (self.last, token)
        elif self.clause and self.last is self.clause[1] and token.text != b"SETTINGS":
            self.clause = None

    def statement(self) -> Statement:
        if not self.words and not self.end:
            raise Failure(62, "Syntax error: Empty query")
        first = self.words[0] if self.words else b""
        stateful = first in (b"SET", b"USE") or (b"TEMPORARY" in self.words and first in (b"CREATE", b"DROP", b"REPLACE"))
        if self.data_at >= 0 and self.clause:
            cut, name = self.clause
            data = self.sql[_skip(self.sql, self.data_at) :]
            return Statement(self.sql[: cut.start].rstrip(), Kind.INSERT, first, "Values" if cut is name else self._text(name), data=data)
        kind = Kind.SELECT if first in (b"SELECT", b"WITH", b"FROM") else Kind.OTHER
        told = Statement(self.sql[: self.end], kind, first, scalar=self.scalar, stateful=stateful)
        if not self.clause or first == b"INSERT":
            return told
        clause, name = self.clause
        return replace(told, format=self._text(name), format_at=(name.start, name.end), clause_at=clause.start)

    def _text(self, token: Token) -> str:
        return self.sql[token.start : token.end].decode("ascii")


def _skip(sql: bytes, at: int) -> int:
    """Where the data begin: after blanks and at most one line end, as the server has it (a `;` is forgiven)."""
    found = _BEFORE_DATA.match(sql, at)
    return found.end() if found else at
