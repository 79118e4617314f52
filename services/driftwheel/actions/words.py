"""What an app wrote goes to people's chats and mailboxes: as words, and as nothing else."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

TITLE, TEXT = 200, 4000
"""Characters of a title and of a text that are told."""

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]")
_DEFUSED = str.maketrans({"<": "⟨", ">": "⟩", "@": "@\u200b", "\t": " "})


def harmless(text: str, most: int = TEXT) -> str:
    r"""
    At most *most* characters of *text*, which no receiver takes for markup, a mention or a link under another name.

    HTML, and Slack's `<!here>` and `<@U1>`, need angle brackets: they become ⟨ and ⟩. `@everyone` and `@channel` are cut by a
    zero-width space, Markdown's `](` by a blank. Characters that steer terminals or turn the reading direction are dropped.

    >>> harmless("<b>Hi</b> [bank](http://x)\x1b[2J")
    '⟨b⟩Hi⟨/b⟩ [bank] (http://x)[2J'
    """
    seen = _UNSEEN.sub("", text[: 2 * most])  # twice: what is dropped should cost no words
    words = re.sub(r"\](?=[(\[:])", "] ", seen.translate(_DEFUSED))
    return words if max(len(words), len(text) - most) <= most else words[: most - 1] + "…"


def line(text: str, most: int = TITLE) -> str:
    r"""
    The same in one line.

    >>> line("what\r\n  happened")
    'what happened'
    """
    return harmless(" ".join(text[: 4 * most].split()), most)


def secrets_in(*texts: str) -> frozenset[str]:
    """
    What may be a secret in URLs and headers: every piece of six characters or more.

    >>> sorted(secrets_in("https://u:hunter2@host/T0AA/B0123456", "Bearer abc"))
    ['B0123456', 'Bearer', 'hunter2']
    """
    pieces = (piece for text in texts for both in (text, unquote(text)) for piece in re.split(r"[/?&=@:,\s]+", both))
    return frozenset(piece for piece in pieces if len(piece) > 5)


def masked(text: str, secrets: Iterable[str]) -> str:
    """
    *text* in one line without *secrets*: receivers like to repeat what they refuse.

    >>> masked("no hook B0123456 here", ["B0123456"])
    'no hook *** here'
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return line(text)
