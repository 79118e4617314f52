"""Every failure as ClickHouse says it: a code, words, a name, and the HTTP status that belongs to the code."""

import re

NAMES = {
    36: "BAD_ARGUMENTS",
    40: "CHECKSUM_DOESNT_MATCH",
    48: "NOT_IMPLEMENTED",
    49: "LOGICAL_ERROR",
    62: "SYNTAX_ERROR",
    76: "CANNOT_OPEN_FILE",
    89: "UNKNOWN_COMPRESSION_METHOD",
    115: "UNKNOWN_SETTING",
    159: "TIMEOUT_EXCEEDED",
    164: "READONLY",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    229: "QUERY_IS_TOO_LARGE",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    271: "CANNOT_DECOMPRESS",
    307: "TOO_MANY_BYTES",
    372: "SESSION_NOT_FOUND",
    373: "SESSION_IS_LOCKED",
    374: "INVALID_SESSION_TIMEOUT",
    408: "BAD_REQUEST_PARAMETER",
    497: "ACCESS_DENIED",
    511: "UNKNOWN_ROLE",
    516: "AUTHENTICATION_FAILED",
    1001: "STD_EXCEPTION",
}
"""The codes that this interface raises itself; the engine names its own."""

STATUS = {
    **dict.fromkeys(
        (6, 7, 15, 16, 25, 26, 27, 36, 38, 41, 43, 44, 53, 56, 62, 72, 117, 167, 168, 186, 321, 376, 427, 441, 456, 457, 675, 676), 400
    ),
    194: 401,
    **dict.fromkeys((192, 193, 497, 512, 516), 403),
    **dict.fromkeys((46, 47, 50, 60, 63, 73, 78, 81, 115, 152, 336, 511), 404),
    159: 408,
    381: 411,
    229: 413,
    779: 415,
    48: 501,
    **dict.fromkeys((76, 209, 439), 503),
}
"""Code → HTTP status, as a ClickHouse server maps them; all others are 500."""

_PREFIX = re.compile(r"(?:Code: \d+\. DB::Exception: )+")
_SUFFIX = re.compile(r"\s*\((?:version [^()]*|(?P<name>[A-Z][A-Z0-9_]+))\)\.?\s*$")


class Failure(Exception):
    """What went wrong with a request, in ClickHouse's words."""

    def __init__(self, code: int, words: str, name: str = "", status: int = 0) -> None:
        super().__init__(words)
        self.code = code
        self.words = words.strip().removesuffix(".")
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")
        self.status = status or STATUS.get(code, 500)

    @classmethod
    def said(cls, text: str) -> "Failure":
        """
        What the engine said, once and without its inner repetitions.

        >>> str(Failure.said("Code: 164. DB::Exception: Code: 164. DB::Exception: No. (READONLY) (version 26.9). (READONLY)").line("1"))
        'Code: 164. DB::Exception: No. (READONLY) (version 1 (chDB))'
        """
        found = re.search(r"Code: (\d+)\. DB::Exception: ", text)
        if not found:
            if text.startswith("send_insert requires"):  # it only looked like an INSERT
                return cls(62, "Syntax error: Failed to parse the INSERT before its data")
            return cls(1001, text or "the engine failed without a word")
        words, name = _PREFIX.sub("", text[found.start() :], count=1), ""
        while end := _SUFFIX.search(words):
            if end["name"] and name and end["name"] != name:
                break
            name = end["name"] or name
            words = words[: end.start()]
        return cls(int(found[1]), words, name)

    def line(self, version: str) -> str:
        """The line that clients read and parse."""
        return f"Code: {self.code}. DB::Exception: {self.words}. ({self.name}) (version {version} (chDB))"
