"""Check digits: what tells a card, an IBAN, a CPF or a CNPJ from any other number. Pure, on cleaned text."""

IBAN_LENGTHS = dict(
    pair.split(":")
    for pair in (
        "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 "
        "ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 "
        "LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 "
        "PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
    ).split()
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
