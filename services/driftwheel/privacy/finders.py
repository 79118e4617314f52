r"""
Where personal data and secrets lie in a text.

Two laws shape the patterns. *Linear time*: repeats that nothing bounds are possessive, and what may start anywhere
is bounded. *Idempotence*: a mask (`[CARD]`) must not free what stood blocked beside it, so a boundary that blocks on
a character that another mask may swallow blocks on the mask's bracket too. Arguments of tools are JSON text: a letter
may be the end of `\n` and a name may hold `\u00e9`; what is masked there leaves JSON behind.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from driftwheel.privacy.checksums import IBAN_LENGTHS, is_card, is_cnpj, is_cpf, is_iban

Kind = Literal["KEY", "EMAIL", "IBAN", "CARD", "CNPJ", "CPF", "PHONE", "TEXT"]
"""What was masked; `TEXT` counts whole texts that the profile `metadata-only` leaves out."""


@dataclass(frozen=True, slots=True)
class Finder:
    """
    Finds one kind: what `pattern` calls `m` is masked up to where `end` says, and nothing where it says -1.

    After a candidate that is none the search goes on at its next character, or, for an `unbounded` pattern, behind it.
    """

    kind: Kind
    pattern: re.Pattern[str]
    end: Callable[[re.Match[str]], int] = lambda found: found.end("m")
    unbounded: bool = False


_NOT_DIGIT = re.compile(r"[^0-9]")
_YEARS = re.compile(r"(?:(?:19|20)\d\d\D{0,3})+")


def _card(found: re.Match[str]) -> int:
    text = found["m"]
    good = is_card(_NOT_DIGIT.sub("", text)) and not (" " in text and _YEARS.fullmatch(text))
    return found.end("m") if good else -1


def _cpf(found: re.Match[str]) -> int:
    return found.end("m") if is_cpf(_NOT_DIGIT.sub("", found["m"])) else -1


def _cnpj(found: re.Match[str]) -> int:
    compact = re.sub(r"[^0-9A-Z]", "", found["m"])
    return found.end("m") if (compact.isdigit() or "/" in found["m"]) and is_cnpj(compact) else -1


def _iban(found: re.Match[str]) -> int:
    """An IBAN ends where its country's length says; words may follow, but not without a gap."""
    left = int(IBAN_LENGTHS.get(found["m"][:2].upper(), "0"))
    end = found.start("m")
    while left and end < found.end("m"):
        left -= found.string[end].isalnum()
        end += 1
    cut = end == found.start("m") or left or found.string[end : end + 1].isalnum()
    compact = re.sub(r"[^0-9A-Z]", "", found.string[found.start("m") : end].upper())
    return end if not cut and is_iban(compact) else -1


def _key(found: re.Match[str]) -> int:
    """A secret is random: it has a digit, and it is long in one piece (`sk-learn-based-approach` is neither)."""
    pieces = re.split(r"[-_.]", found["m"])
    good = re.search(r"[0-9]", found["m"]) and (len(found["m"]) >= 40 or max(map(len, pieces)) >= 12)
    return found.end("m") if good or found["m"].startswith(("AKIA", "ASIA")) else -1


def _phone_abroad(found: re.Match[str]) -> int:
    """`+` and 8 to 15 digits (E.164); in one piece 9, since `+1000000` is a gain; `00` and 10, in one piece 12."""
    digits = _NOT_DIGIT.sub("", found["m"])
    spaced = len(digits) < len(found["m"].lstrip("+"))
    least = (8 if spaced else 9) if found["m"][0] == "+" else (10 if spaced else 12)
    return found.end("m") if least <= len(digits) <= 15 else -1


_LEFT = r"(?:(?<![A-Za-z0-9_])|(?<=\\[nrt]))"
_NUMBER = _LEFT + r"(?<![0-9\]]\.)(?<!\+)"  # no decimals (0.4111111111111111); what begins with + is a telephone
_RIGHT = r"(?![A-Za-z0-9_])"
_S = "[ .\\-\u00a0\u2011\u2013]"
_LOCAL = r"A-Za-z0-9_\u00c0-\u024f\u0370-\u04ff.+\-"  # Latin, Greek, Cyrillic: elsewhere words are not spaced
_CODE = "u[0-9a-fA-F]{4}"
_TAIL = r"[A-Za-z0-9_\-]"


def _number(body: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{_NUMBER}|(?=\())(?P<m>{body}){_RIGHT}")


KEYS = (
    Finder(
        "KEY",
        re.compile(
            r"(?P<m>-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.]*+(?:-(?!-)[A-Za-z0-9+/=\s\\:,.]*+)*+"
            r"(?:-----END [A-Z0-9 ]{0,40}-----)?)"
        ),
    ),
    Finder(
        "KEY",
        re.compile(
            r"(?:(?<![A-Za-z0-9_\-])|(?<=\\[nrt]))(?P<m>"
            rf"(?:sk|pk|rk)[-_]{_TAIL}{{16,}}+|gh[pousr]_[A-Za-z0-9]{{20,}}+|github_pat_[A-Za-z0-9_]{{20,}}+|glpat-{_TAIL}{{16,}}+"
            rf"|(?:hf|npm)_[A-Za-z0-9]{{20,}}+|xox[a-z]-[A-Za-z0-9\-]{{10,}}+|AIza{_TAIL}{{30,}}+|A[KS]IA[A-Z0-9]{{16}}(?![A-Za-z0-9])"
            rf"|eyJ{_TAIL}{{8,}}+\.{_TAIL}{{8,}}+\.{_TAIL}*+|dw_[A-Za-z0-9]{{1,32}}_{_TAIL}{{12,}}+)"
        ),
        _key,
        unbounded=True,
    ),
)
EMAILS = (
    Finder(
        "EMAIL",
        re.compile(
            rf"(?:(?<![{_LOCAL}])(?!(?<=\\)(?:[nrt]|{_CODE}))|(?<=\\[nrt]))(?P<m>(?:[{_LOCAL}]++|\\{_CODE})++(?:@|%40)(?:[A-Za-z0-9\u00c0-\u024f\-]++\.){{1,10}}[A-Za-z]{{2,}}+(?:[{_LOCAL}]++(?=@|%40))?)",
        ),
        unbounded=True,
    ),
)
DATE = re.compile(r"(?:19|20)\d\d[-./ ]\d\d?[-./ ]\d\d?(?: \d\d)?(?!\d)|\d\d?[-./ ]\d\d?[-./ ](?:19|20)\d\d(?: \d\d)?(?!\d)")
"""The commonest long number, with the hour that may follow; it is left alone at once."""

COMPANIES = (Finder("CNPJ", _number(r"[0-9A-Z]{2}([. ]?)[0-9A-Z]{3}\2[0-9A-Z]{3}[/ ]?[0-9A-Z]{4}[- ]?[0-9]{2}"), _cnpj),)
ACCOUNTS = (Finder("IBAN", re.compile(_LEFT + r"(?P<m>[A-Za-z]{2}[0-9]{2}(?:[ \-]?[A-Za-z0-9]){11,29})"), _iban),)
_NATIONAL = "|".join(
    (
        rf"(?:1{_S})?(?:\([2-9][0-9]{{2}}\) ?|[2-9][0-9]{{2}}{_S})[0-9]{{3}}{_S}[0-9]{{4}}",  # North America
        rf"1[3-9][0-9]{_S}[0-9]{{4}}{_S}[0-9]{{4}}",  # China
        r"\([1-9]{2}\) ?(?:9 ?)?[0-9]{4}[ \-]?[0-9]{4}|[1-9]{2}[ \-](?:9 ?[0-9]{4}[ \-]?|[2-5][0-9]{3}-)[0-9]{4}",  # Brazil
        r"[67][0-9]{2}(?: [0-9]{2}){3}",  # Spain
        r"0[1-9](?:[ .\-][0-9]{2}){4}",  # France
        r"\(?0[1-9]\)?[ \-][0-9]{4}[ \-][0-9]{4}",  # Australia, Japan
        r"\(?0[1-9][0-9]\)?[ \-/]{1,3}[0-9](?:[ \-]?[0-9]){5,8}|\(?0[1-9][0-9]{2,3}\)?[ \-/]{1,3}[0-9](?:[ \-]?[0-9]){4,7}",  # Britain, Germany
        r"0(?:1[5-7]|[4679][0-9])[0-9]{7,8}",  # mobiles behind a trunk 0, in one piece
    )
)
NUMBERS = (
    Finder("CARD", _number(rf"[0-9]{{13,19}}|[0-9]{{4}}{_S}[0-9]{{6}}{_S}[0-9]{{4,5}}|(?:[0-9]{{4}}{_S}){{3}}[0-9]{{1,7}}"), _card),
    Finder("CARD", _number(rf"(?:[0-9]{{4}}{_S}){{4}}[0-9]{{3}}"), _card),
    *COMPANIES,
    Finder("CPF", _number(r"[0-9]{3}([. ]?)[0-9]{3}\2[0-9]{3}[-\u2013 /]?[0-9]{2}"), _cpf),
    Finder(
        "PHONE",
        re.compile(
            rf"(?:(?<![0-9_\].+])(?P<m>\+\(?[1-9](?:[ ().\-/\u00a0\u2011]{{0,2}}[0-9]){{7,14}}|{_NUMBER}00[ \-]?[1-9](?:[ \-/]{{0,2}}[0-9]){{7,12}}))"
            + _RIGHT
        ),
        _phone_abroad,
    ),
    Finder("PHONE", _number(_NATIONAL)),
    Finder(  # any form behind a word that says so
        "PHONE",
        re.compile(
            r"(?:(?<![A-Za-z])|(?<=\\[nrt]))(?i:tel|telefone?|telephone|(?:tele|mobile|cell)?phone|mobile|cell|celular|whatsapp|fone|fax|handy)"
            r"(?i:[_ ](?:number|no|nr))?[\s\"'\\:=.#]{1,6}(?P<m>\(?[0-9](?:[ ().\-/]{0,2}[0-9]){6,12})" + _RIGHT
        ),
        lambda found: -1 if DATE.match(found["m"]) else found.end("m"),
    ),
)
"""In this order: a card may hold what looks like a telephone, never the other way round."""

LONG_NUMBER = re.compile(r"[0-9](?:[ ().\-/\u00a0\u2011\u2013]{0,4}+[0-9]){6,}+")
"""What every kind in NUMBERS lies in (with a `+` or `(` before it): seven digits or more with little between them."""

ACCOUNT_HINT = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])[0-9][ \-]?[A-Za-z0-9]{2}")
COMPANY_HINT = re.compile(r"/[0-9A-Z]{4}-[0-9]{2}")
