"""Check digits: what tells a card, an IBAN, a CPF or a CNPJ from any other number. Pure, on cleaned text."""

import re

IBAN_LENGTHS = dict(
    re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22"
        "GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20"
        "MR27MT31MU30NI28NL18NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24TR26"
        "UA29VA22VG24XK20YE30",
    )
)
"""How long the IBAN of a country is (SWIFT's registry); the length says where an IBAN in running text ends."""


def is_card(digits: str) -> bool:
    """
    Whether 13 to 19 *digits* are a payment card: an issuer of today (2 to 6 in front) and Luhn (ISO/IEC 7812).

    The first digit keeps times in milliseconds and nanoseconds out, which begin with 1 until the year 2033.

    >>> is_card("4111111111111111"), is_card("4111111111111112"), is_card("1700000000000")
    (True, False, False)
    """
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456":
        return False
    doubled = (int(d) * 2 for d in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(d - 9 if d > 9 else d for d in doubled)) % 10 == 0


def is_iban(compact: str) -> bool:
    """
    Whether *compact* (upper case, no spaces) has its country's length and passes mod 97 (ISO 13616).

    >>> is_iban("DE89370400440532013000"), is_iban("DE89370400440532013001")
    (True, False)
    """
    if IBAN_LENGTHS.get(compact[:2]) != str(len(compact)):
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def is_cpf(digits: str) -> bool:
    """
    Whether 11 *digits* are a Brazilian person's number; eleven equal ones pass the sums and are none.

    >>> is_cpf("52998224725"), is_cpf("52998224724"), is_cpf("11111111111")
    (True, False, False)
    """
    return len(set(digits)) > 1 and digits[9:] == _mod11(digits[:9], 11) + _mod11(digits[:9] + _mod11(digits[:9], 11), 11)


def is_cnpj(compact: str) -> bool:
    """
    Whether 14 characters are a Brazilian company's number; letters count since July 2026 (Receita Federal, IN 2.229/2024).

    >>> is_cnpj("11222333000181"), is_cnpj("12ABC34501DE35"), is_cnpj("11222333000182")
    (True, True, False)
    """
    body = compact[:12]
    return len(set(compact)) > 1 and compact[12:] == _mod11(body, 9) + _mod11(body + _mod11(body, 9), 9)


def _mod11(body: str, highest: int) -> str:
    """The check digit of *body*: weights 2, 3, … from the right, round again after *highest* (CNPJ: 9; a CPF never gets there)."""
    total = sum((ord(c) - 48) * (2 + i % (highest - 1)) for i, c in enumerate(reversed(body)))
    return str(0 if total % 11 < 2 else 11 - total % 11)
