"""
The tokens of ClickHouse's own lexer: nested comments, heredocs, typographic quotes and all.

What the engine takes for a string must be a string here too, or a forbidden word could hide in front of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space>  (?:[\x00-\x20] | (?!\xe2\x80[\x98\x9c])[\x7f-\xff])++ | --[^\n]*+ | //[^\n]*+ | \#[\ !][^\n]*+ )
  | (?P<block>  /\* )
  | (?P<string> '(?:[^'\\]|\\.|'')*+' | \xe2\x80\x98.*?\xe2\x80\x99 | \$(?P<tag>[^$]*+)\$.*?\$(?P=tag)\$ )
  | (?P<name>   "(?:[^"\\]|\\.|"")*+" | `(?:[^`\\]|\\.|``)*+` | \xe2\x80\x9c.*?\xe2\x80\x9d )
  | (?P<word>   [0-9][0-9A-Za-z_]*+ | [A-Za-z_$][0-9A-Za-z_$]*+ )
  | (?P<other>  . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(rb"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """A token that means something: no blank, no comment. `text` is upper case for words."""

    kind: str
    text: bytes
    start: int
    end: int


NOTHING = Token("other", b"", 0, 0)
"""Before the first token."""


def tokens(sql: bytes) -> Iterator[Token]:
    """The meaningful tokens of *sql* as ClickHouse sees them."""
    at = 0
    while found := _TOKEN.match(sql, at):
        kind, start, at = found.lastgroup or "other", found.start(), found.end()
        if kind == "tag":
            kind = "string"
        if kind == "block":
            at = _end_of_comment(sql, at)
        elif kind != "space":
            text = found[0]
            yield Token(kind, text.upper() if kind == "word" else text, start, at)


def _end_of_comment(sql: bytes, at: int) -> int:
    """Comments nest."""
    depth = 1
    for found in _COMMENT.finditer(sql, at):
        depth += 1 if found[0] == b"/*" else -1
        if depth == 0:
            return found.end()
    return len(sql)
