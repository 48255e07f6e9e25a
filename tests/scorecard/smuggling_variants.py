"""Requests that two readers could take differently: a table, multiplied out.

`tests/vectors/smuggling.json` holds the result, so that the engine's tests read the same variants;
`python -m tests.scorecard.smuggling_variants` rewrites it. Each variant carries a request for
`/smuggled` where a lax reader would find one.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "smuggling.json"
HOST = b"Host: web.score\r\n"
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: web.score\r\n\r\n"
BODY = b"0\r\n\r\n" + HIDDEN
REFUSE, PASS, EITHER = "refuse", "pass", "either"


@dataclass(frozen=True)
class Variant:
    """One connection's bytes.

    `expect`: `refuse` — an error status, then the end, and the backend sees nothing; `pass` — it sees
    just this request with `body`; `either` — refused, or passed in the only form that all read alike.
    """

    name: str
    raw: str
    expect: str
    body: str = ""

    @property
    def octets(self) -> bytes:
        """What is sent: the text's characters are octets."""
        return self.raw.encode("latin-1")


def _v(name: str, raw: bytes, expect: str = REFUSE, body: bytes = b"") -> Variant:
    return Variant(name, raw.decode("latin-1"), expect, body.decode("latin-1"))


def _post(fields: bytes, body: bytes = BODY, line: bytes = b"POST /sent HTTP/1.1\r\n") -> bytes:
    return line + HOST + fields + b"\r\n" + body


def variants() -> list[Variant]:
    """All of them; names are unique."""
    found = [
        *_two_lengths(),
        *_odd_lengths(),
        *_odd_transfer_encodings(),
        *_chunks(),
        *_lines(),
        *_request_lines(),
        *_hosts(),
        *_nominations(),
        *_others(),
        *_good(),
    ]
    names = [variant.name for variant in found]
    assert len(names) == len(set(names)), "names are unique"
    return found


def _length(n: int) -> bytes:
    return b"Content-Length: %d\r\n" % n


# Spellings of "chunked" that some reader takes for it and another does not.
_CHUNKED = {
    "space before colon": b"Transfer-Encoding : chunked",
    "tab before colon": b"Transfer-Encoding\t: chunked",
    "leading space": b" Transfer-Encoding: chunked",
    "leading tab": b"\tTransfer-Encoding: chunked",
    "vertical tab value": b"Transfer-Encoding: \x0bchunked",
    "form feed value": b"Transfer-Encoding: \x0cchunked",
    "nbsp value": b"Transfer-Encoding: \xa0chunked",
    "nul value": b"Transfer-Encoding: chunked\x00",
    "nul name": b"Transfer\x00-Encoding: chunked",
    "bare cr": b"Transfer-Encoding: chunked\rX: y",
    "quoted": b'Transfer-Encoding: "chunked"',
    "single quoted": b"Transfer-Encoding: 'chunked'",
    "x prefix": b"Transfer-Encoding: xchunked",
    "suffix": b"Transfer-Encoding: chunkedx",
    "dash": b"Transfer-Encoding: chunked-false",
    "list identity first": b"Transfer-Encoding: identity, chunked",
    "list identity last": b"Transfer-Encoding: chunked, identity",
    "list gzip first": b"Transfer-Encoding: gzip, chunked",
    "list gzip last": b"Transfer-Encoding: chunked, gzip",
    "list twice": b"Transfer-Encoding: chunked, chunked",
    "comma before": b"Transfer-Encoding: ,chunked",
    "comma after": b"Transfer-Encoding: chunked,",
    "parameter": b"Transfer-Encoding: chunked;q=1",
    "identity": b"Transfer-Encoding: identity",
    "gzip": b"Transfer-Encoding: gzip",
    "empty": b"Transfer-Encoding:",
    "unknown": b"Transfer-Encoding: cow",
    "folded": b"Transfer-Encoding:\r\n chunked",
    "folded tab": b"Transfer-Encoding:\r\n\tchunked",
    "split fold": b"Transfer-Encoding: chun\r\n ked",
    "two fields": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "two fields identity first": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "two fields identity last": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "two fields cow last": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow",
    "two fields empty": b"Transfer-Encoding: chunked\r\nTransfer-Encoding:",
    "high bit name": b"Transfer-Encoding\xff: chunked",
    "lf before": b"X: y\nTransfer-Encoding: chunked",
    "cr before": b"X: y\rTransfer-Encoding: chunked",
    "line of no colon": b"Transfer-Encoding chunked",
    "equals": b"Transfer-Encoding= chunked",
    "encoded dash": b"Transfer%2dEncoding: chunked\r\nTransfer-Encoding: cow",
    "high bit value": b"Transfer-Encoding: \xffchunked",
    "backspace": b"Transfer-Encoding: chunked\x08",
    "delete": b"Transfer-Encoding: chunked\x7f",
}
# Spellings that all readers that go by the book take for "chunked".
_PLAIN_CHUNKED = {
    "plain": b"Transfer-Encoding: chunked",
    "lower": b"transfer-encoding: chunked",
    "upper": b"TRANSFER-ENCODING: CHUNKED",
    "mixed": b"tRANSFER-eNCODING: cHuNkEd",
    "no space": b"Transfer-Encoding:chunked",
    "tab": b"Transfer-Encoding:\tchunked",
    "trailing space": b"Transfer-Encoding: chunked ",
    "trailing tab": b"Transfer-Encoding: chunked\t",
    "many spaces": b"Transfer-Encoding:      chunked",
}


def _odd_transfer_encodings() -> Iterator[Variant]:
    for name, field in _CHUNKED.items():
        yield _v(f"te {name}", _post(field + b"\r\n"))
        yield _v(f"te {name}, with a length", _post(field + b"\r\n" + _length(len(BODY))))
        yield _v(f"te {name}, after a short length", _post(_length(5) + field + b"\r\n"))
    for name, field in _PLAIN_CHUNKED.items():
        chunked = b"5\r\nhello\r\n0\r\n\r\n"
        yield _v(f"te good {name}", _post(field + b"\r\n", chunked), PASS, b"hello")
        yield _v(f"te {name}, then a length", _post(field + b"\r\n" + _length(len(BODY))))
        yield _v(f"te {name}, after a length", _post(_length(len(BODY)) + field + b"\r\n"))
        yield _v(f"te {name}, and a length of 0", _post(field + b"\r\n" + _length(0)))
        old = _post(field + b"\r\n", BODY, b"POST /sent HTTP/1.0\r\n")
        yield _v(f"te {name} in 1.0", old)


def _two_lengths() -> Iterator[Variant]:
    for one, other in ((0, 43), (43, 0), (5, 6), (6, 5), (5, 50)):
        yield _v(f"lengths {one} and {other}", _post(_length(one) + _length(other)))
        yield _v(f"length list {one}, {other}", _post(b"Content-Length: %d, %d\r\n" % (one, other)))
        yield _v(f"length list {one},{other}", _post(b"Content-Length: %d,%d\r\n" % (one, other)))
        hidden = b"Content-Length: %d\r\nContent-Length : %d\r\n" % (one, other)
        yield _v(f"lengths {one} and {other} with a space", _post(hidden))
        hidden = b"Content-Length: %d\r\ncontent-length:%d\r\n" % (one, other)
        yield _v(f"lengths {one} and {other} in two cases", _post(hidden))
    # Equal lengths may be taken as one (RFC 9112 §6.3), and passed on as one.
    yield _v("equal lengths", _post(_length(5) * 2, b"hello"), EITHER, b"hello")
    yield _v("equal length list", _post(b"Content-Length: 5, 5\r\n", b"hello"), EITHER, b"hello")


def _odd_lengths() -> Iterator[Variant]:
    values = (
        b"+5", b"-5", b"+0", b"-0", b"5 6", b"5,", b",5", b"0x5", b"5h", b"5.0", b"5e0", b"five",
        b'"5"', b"'5'", b"5;a", b"\x005", b"5\x00", b"\x0b5", b"5\x0b", b"\x0c5", b"\xa05", b"5\xa0",
        b"18446744073709551616", b"18446744073709551621", b"99999999999999999999999",
        b"9223372036854775808", b"0b11", b"0o5", b"5_0", b"1_0", b"\xb2", b"\xd9\xa5", b"5\rX: y",
        b"", b" ", b"\t", b"5 \x00", b"NaN", b"%35", b"\r\n 5", b"\r\n\t5", b"5\r\n 0",
    )  # fmt: skip
    for value in values:
        yield _v(f"length {value!r}", _post(b"Content-Length: " + value + b"\r\n"))
    names = (
        b"Content-Length : 5", b"Content-Length\t: 5", b" Content-Length: 5", b"\tContent-Length: 5",
        b"Content-Length\x00: 5", b"Content\x00-Length: 5", b"Content-Length\x0b: 5",
        b"Content-Length\r: 5", b"Content-Length 5", b"Content Length: 5", b"\x0bContent-Length: 5",
        b"Content-Length\xa0: 5", b"Content-Length;: 5", b"(Content-Length): 5", b": 5",
        b"X: y\nContent-Length: 5", b"X: y\rContent-Length: 5", b"\rContent-Length: 5",
    )  # fmt: skip
    for name in names:
        yield _v(f"field {name!r}", _post(name + b"\r\n"))


def _chunks() -> Iterator[Variant]:
    """The head is sound; the body is not, so the request may have begun to pass: its end must not."""
    te = b"Transfer-Encoding: chunked\r\n"
    sizes = (
        b"0x5", b"+5", b"-5", b"5 5", b" 5", b"\t5", b"5h", b"g", b"", b"5,", b"5.", b"\x005",
        b"5\x00", b"5_", b"10000000000000005", b"ffffffffffffffff", b"fffffffffffffffff0",
        b"5\r", b"\xb5", b"'5'", b'"5"', b"5\x0b", b"\x0c5", b"5\xa0", b"5:a",
    )  # fmt: skip
    for size in sizes:
        body = size + b"\r\nhello\r\n0\r\n\r\n" + HIDDEN
        yield _v(f"chunk size {size!r}", _post(te, body))
    broken = {
        "size line of lf": b"5\nhello\r\n0\r\n\r\n" + HIDDEN,
        "data ends with lf": b"5\r\nhello\n0\r\n\r\n" + HIDDEN,
        "data ends with cr": b"5\r\nhello\r0\r\n\r\n" + HIDDEN,
        "data ends with nothing": b"5\r\nhello0\r\n\r\n" + HIDDEN,
        "data ends with two others": b"5\r\nhelloXX0\r\n\r\n" + HIDDEN,
        "data too long": b"5\r\nhelloworld\r\n0\r\n\r\n" + HIDDEN,
        "last line of lf": b"5\r\nhello\r\n0\n\r\n" + HIDDEN,
        "last blank of lf": b"5\r\nhello\r\n0\r\n\n" + HIDDEN,
        "extension with lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n" + HIDDEN,
        "extension with cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n" + HIDDEN,
        "extension with nul": b"5;a\x00b\r\nhello\r\n0\r\n\r\n" + HIDDEN,
        "extension of 4 KiB": b"5;" + b"a" * 4096 + b"\r\nhello\r\n0\r\n\r\n" + HIDDEN,
        "trailer of lf": b"5\r\nhello\r\n0\r\nX: y\n\r\n" + HIDDEN,
        "trailer with nul": b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n" + HIDDEN,
        "trailer without colon": b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n" + HIDDEN,
        "trailer with space": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n" + HIDDEN,
        "trailer folded": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n" + HIDDEN,
    }
    for name, body in broken.items():
        yield _v(f"chunk {name}", _post(te, body))
    sound = {
        "extension": b"5;a=b\r\nhello\r\n0\r\n\r\n",
        "quoted extension": b'5;a="b;c"\r\nhello\r\n0;z\r\n\r\n',
        "leading zeros": b"0005\r\nhello\r\n000\r\n\r\n",
        "upper case": b"5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n",
        "lower case": b"5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
        "one by one": b"1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n",
        "trailer": b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        "trailer that frames": b"5\r\nhello\r\n0\r\nContent-Length: 99\r\n\r\n",
        "trailer that chunks": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "trailer that names a host": b"5\r\nhello\r\n0\r\nHost: other\r\n\r\n",
        "space before extension": b"5 ;a\r\nhello\r\n0\r\n\r\n",
        "space after size": b"5 \r\nhello\r\n0\r\n\r\n",
    }
    for name, body in sound.items():
        content = b"hello0123456789" if "case" in name else b"hello"
        yield _v(f"chunk sound {name}", _post(te, body), EITHER, content)


def _lines() -> Iterator[Variant]:
    head = b"POST /sent HTTP/1.1{0}Host: web.score{1}Content-Length: 5{2}X: y{3}{4}"
    for at, end in itertools.product(
        range(5), (b"\n", b"\r", b"\r\r\n", b"\n\r", b"\x0b\r\n", b"\x00\r\n")
    ):
        ends = [end if i == at else b"\r\n" for i in range(5)]
        raw = head
        for i, text in enumerate(ends):
            raw = raw.replace(b"{%d}" % i, text)
        yield _v(f"line {at} ends with {end!r}", raw + b"hello" + HIDDEN)
    yield _v(
        "all lines end with lf", (_post(_length(5), b"hello") + HIDDEN).replace(b"\r\n", b"\n")
    )
    for fold in (b"\r\n ", b"\r\n\t", b"\n ", b"\r "):
        yield _v(f"folded by {fold!r}", _post(b"X: a" + fold + b"b\r\n" + _length(5), b"hello"))
        hidden = b"X: a" + fold + b"Content-Length: 5\r\n"
        yield _v(f"length folded by {fold!r}", _post(hidden, BODY))
    yield _v("space before the first field", b"GET /sent HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n")
    for char in (b"\x00", b"\x01", b"\x08", b"\x0b", b"\x0c", b"\x1f", b"\x7f", b"\r"):
        yield _v(f"value with {char!r}", _post(b"X: a" + char + b"b\r\n" + _length(0), b""))
    for octet in b'\x00\x01\t "(),/;<=>?@[\\]{}\x7f\x80\xff':
        yield _v(
            f"name with {bytes([octet])!r}",
            _post(b"X" + bytes([octet]) + b"Y: z\r\n" + _length(0), b""),
        )


def _request_lines() -> Iterator[Variant]:
    lines = (
        b"GET  /sent HTTP/1.1", b"GET /sent  HTTP/1.1", b"GET\t/sent HTTP/1.1", b"GET /sent\tHTTP/1.1",
        b" GET /sent HTTP/1.1", b"GET /sent HTTP/1.1 ", b"GET /sent HTTP/1.1\t", b"GET /se nt HTTP/1.1",
        b"GET /sent", b"GET", b"/sent HTTP/1.1", b"GET /sent HTTP/1.1 GET /smuggled HTTP/1.1",
        b"GET /sent HTTP/1.1\x00", b"GET /sent\x00 HTTP/1.1", b"G\x00ET /sent HTTP/1.1",
        b"GET /sent http/1.1", b"GET /sent HTTP /1.1", b"GET /sent HTTP/ 1.1", b"GET /sent HTTP/1.1.1",
        b"GET /sent HTTP/11", b"GET /sent HTTP/1", b"GET /sent HTTP/1.", b"GET /sent HTTP/.1",
        b"GET /sent HTTP/01.1", b"GET /sent HTTP/1.01", b"GET /sent HTTP/+1.1", b"GET /sent HTTPS/1.1",
        b"GET /sent HTTP/2.0", b"GET /sent HTTP/3.0", b"GET /sent HTTP/0.9", b"GET /sent HTTP/9.9",
        b"G@T /sent HTTP/1.1", b"G(T /sent HTTP/1.1", b"GET: /sent HTTP/1.1", b"G\xe9T /sent HTTP/1.1",
        b"GET sent HTTP/1.1", b"GET ../sent HTTP/1.1", b"GET ?a HTTP/1.1", b"GET * HTTP/1.1",
        b"GET web.score HTTP/1.1", b"GET web.score:80 HTTP/1.1", b"CONNECT /sent HTTP/1.1",
        b"CONNECT http://web.score/ HTTP/1.1", b"CONNECT * HTTP/1.1", b"CONNECT web.score HTTP/1.1",
        b"GET http:///sent HTTP/1.1", b"GET http://user@web.score/sent HTTP/1.1",
        b"GET http://web.score@other/sent HTTP/1.1", b"GET ftp://web.score/sent HTTP/1.1",
        b"GET file:///sent HTTP/1.1", b"GET http:/sent HTTP/1.1",
        b"GET /sent\x0bHTTP/1.1", b"GET\x0b/sent HTTP/1.1", b"GET\x0c/sent HTTP/1.1", b"\x16GET /sent HTTP/1.1",
        b"GET /sent\x7f HTTP/1.1", b"GET /sent\x1f HTTP/1.1", b"GET /sent#fragment HTTP/1.1",
        b"GET http://web.score\\@other/sent HTTP/1.1",
    )  # fmt: skip
    for line in lines:
        yield _v(f"line {line!r}", line + b"\r\n" + HOST + b"\r\n" + HIDDEN)


def _hosts() -> Iterator[Variant]:
    def get(fields: bytes, target: bytes = b"/sent") -> bytes:
        return b"GET " + target + b" HTTP/1.1\r\n" + fields + b"\r\n"

    refused = {
        "none": b"",
        "two": HOST + b"Host: other\r\n",
        "two alike": HOST + HOST,
        "two in two cases": HOST + b"hOST: other\r\n",
        "two, one with a space": HOST + b"Host : other\r\n",
        "two, one folded": b"Host:\r\n web.score\r\nHost: other\r\n",
        "two, one indented": HOST + b" Host: other\r\n",
        "a list": b"Host: web.score, other\r\n",
        "a list without space": b"Host: web.score,other:80\r\n",
        "a user": b"Host: user@web.score\r\n",
        "a path": b"Host: web.score/sent\r\n",
        "a query": b"Host: web.score?a\r\n",
        "a fragment": b"Host: web.score#a\r\n",
        "a scheme": b"Host: http://web.score\r\n",
        "a space": b"Host: web score\r\n",
        "a tab": b"Host: web\tscore\r\n",
        "a nul": b"Host: web\x00score\r\n",
        "a backslash": b"Host: web\\score\r\n",
        "a quote": b'Host: "web.score"\r\n',
        "a brace": b"Host: {web}\r\n",
        "high octets": b"Host: w\xe9b\r\n",
        "a caret": b"Host: a^b\r\n",
        "a pipe": b"Host: a|b\r\n",
        "a backtick": b"Host: `id`\r\n",
        "angles": b"Host: <a>\r\n",
    }
    for name, fields in refused.items():
        yield _v(f"host {name}", get(fields))
    # The target's authority rules; a contradicting `host` may be replaced or refused.
    for host in (b"other", b"other:80", b"web.score:81", b""):
        yield _v(
            f"target against host {host!r}",
            get(b"Host: " + host + b"\r\n", b"http://web.score/sent"),
            EITHER,
        )


def _nominations() -> Iterator[Variant]:
    """`connection` may take out fields of one hop, never what frames, routes or proves."""
    for name in (
        b"content-length",
        b"transfer-encoding",
        b"host",
        b"content-length, x",
        b"close, host",
    ):
        fields = b"Connection: " + name + b"\r\n" + _length(5)
        yield _v(f"connection nominates {name!r}", _post(fields, b"hello"), EITHER, b"hello")
    chunked = b"Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n"
    yield _v(
        "connection nominates the coding",
        _post(chunked, b"5\r\nhello\r\n0\r\n\r\n"),
        EITHER,
        b"hello",
    )
    for value in (b"keep-alive\x00", b"\x00", b"a b", b"a\x0bb", b"(x)", b'"close"'):
        yield _v(
            f"connection {value!r}",
            _post(b"Connection: " + value + b"\r\n" + _length(0), b""),
            EITHER,
        )


def _others() -> Iterator[Variant]:
    chunked = b"Transfer-Encoding: chunked\r\n"
    yield _v("expect and length of 0", _post(b"Expect: 100-continue\r\n" + _length(0), b""), EITHER)
    for value in (
        b"100-continue, x",
        b"200-ok",
        b"100 continue",
        b" 100-continue ;a",
        b"y 100-continue",
    ):
        yield _v(
            f"expect {value!r}",
            _post(b"Expect: " + value + b"\r\n" + _length(5), b"hello"),
            EITHER,
            b"hello",
        )
    settings = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    yield _v("h2c", b"GET /sent HTTP/1.1\r\n" + HOST + settings + b"\r\n", EITHER)
    yield _v("h2c with a body", _post(settings + _length(5), b"hello"), EITHER, b"hello")
    yield _v(
        "h2c hidden in a list",
        b"GET /sent HTTP/1.1\r\n" + HOST + settings.replace(b"h2c", b"websocket, h2c") + b"\r\n",
        EITHER,
    )
    yield _v(
        "upgrade with a body",
        _post(b"Connection: upgrade\r\nUpgrade: websocket\r\n" + _length(5), b"hello"),
        EITHER,
        b"hello",
    )
    yield _v(
        "preface after a request",
        b"GET /sent HTTP/1.1\r\n" + HOST + b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        EITHER,
    )
    connect = b"CONNECT web.score:80 HTTP/1.1\r\nHost: web.score:80\r\n"
    yield _v("connect with a length", connect + _length(5) + b"\r\nhello" + HIDDEN)
    yield _v("connect with chunks", connect + chunked + b"\r\n" + BODY)
    for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS", b"TRACE"):
        line = method + b" /sent HTTP/1.1\r\n"
        body = b"5\r\nhello\r\n0\r\n\r\n"
        yield _v(
            f"{method.decode()} with a body", _post(_length(5), b"hello", line), EITHER, b"hello"
        )
        yield _v(f"{method.decode()} with chunks", _post(chunked, body, line), EITHER, b"hello")
    yield _v("method with a tunnel's name", b"connect web.score:80 HTTP/1.1\r\n" + HOST + b"\r\n")
    yield _v("300 fields", _post(b"X: y\r\n" * 300 + _length(0), b""))


def _good() -> Iterator[Variant]:
    """What everybody sends must pass, or refusing would be no virtue."""
    get = b"GET /sent HTTP/1.1\r\n" + HOST
    yield _v("a request", get + b"\r\n", PASS)
    yield _v("an empty line first", b"\r\n" + get + b"\r\n", EITHER)
    yield _v("a query", b"GET /sent?a=b&c=%20 HTTP/1.1\r\n" + HOST + b"\r\n", PASS)
    yield _v("a host with a port", b"GET /sent HTTP/1.1\r\nHost: web.score:8080\r\n\r\n", PASS)
    yield _v("a host in capitals", b"GET /sent HTTP/1.1\r\nHOST: WEB.SCORE\r\n\r\n", PASS)
    yield _v("an address as host", b"GET /sent HTTP/1.1\r\nHost: 10.0.0.1:80\r\n\r\n", PASS)
    yield _v("an IPv6 address as host", b"GET /sent HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", PASS)
    yield _v("an absolute target", b"GET http://web.score/sent HTTP/1.1\r\n" + HOST + b"\r\n", PASS)
    yield _v("an asterisk", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", PASS)
    yield _v("a length", _post(_length(5), b"hello"), PASS, b"hello")
    yield _v("a length of 0", _post(_length(0), b""), PASS)
    yield _v("a length with zeros", _post(b"Content-Length: 005\r\n", b"hello"), EITHER, b"hello")
    yield _v("an unknown method", b"PURGE /sent HTTP/1.1\r\n" + HOST + b"\r\n", PASS)
    yield _v("a value of high octets", get + b"X: caf\xe9\r\n\r\n", PASS)
    yield _v("an empty value", get + b"X:\r\n\r\n", PASS)
    yield _v("a connection that closes", get + b"Connection: close\r\n\r\n", PASS)


def main() -> None:
    """Rewrites the vectors."""
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(render())


def render() -> str:
    """The vectors' text, a variant a line."""
    lines = [json.dumps(asdict(variant)) for variant in variants()]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    main()
