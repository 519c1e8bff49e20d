"""The normal form in which a source record and a table row are compared.

A row equals the record it came from if both have the same normal form. It is built by the rules of
docs/design/types.md, "Equal tables", and written from them alone: nothing here is taken from the product.

  absent = null = {} = [] = an object of absent members; an absent element of a list stays as None
  number    "n" and its exact decimal, as digits "e" exponent, without trailing zeros
  instant   "t" and microseconds since 1970 UTC, where the table's column is a timestamp
  string    "s" and the text
  boolean   True, False

The form depends on the table's type at the path in two places only. Below a double column a number that
a double holds at the number's own count of digits is that double; below a timestamp column a text that
is an RFC 3339 instant of whole microseconds is that instant.
"""

import ast
import hashlib
import json
import re
from datetime import datetime, timedelta
from decimal import Decimal

import orjson

DOUBLES = ("double", "float")
INSTANTS = ("timestamptz", "timestamp", "timestamptz_ns", "timestamp_ns")


class Number(str):
    """A number of a JSON text, as written."""


class Node:
    """The table's type at a path: a leaf's name, or "struct", "list", "map" with what is below."""

    __slots__ = ("kind", "fields", "element", "special")

    def __init__(self, kind, fields=None, element=None):
        self.kind, self.fields, self.element = kind, fields, element
        self.special = {k for k, n in (fields or {}).items() if n.kind in DOUBLES + INSTANTS}


NOTHING = Node("none", {})
NOTHING.element = NOTHING


def type_tree(t):
    """Returns the Node of an Iceberg type as metadata.json has it. Fields are named by their JSON keys."""
    if isinstance(t, str):
        return Node(t)
    if t["type"] == "struct":
        return Node("struct", {json_key(f): type_tree(f["type"]) for f in t["fields"]})
    if t["type"] == "list":
        return Node("list", element=type_tree(t["element"]))
    return Node("map", element=type_tree(t["value"]))


def json_key(field):
    """Returns the JSON key a field is filled from: its doc keeps it where it is not the name."""
    doc = field.get("doc") or ""
    if doc.startswith('json key "'):
        return ast.literal_eval(doc[len("json key "):])
    return field["name"]


def normal(v, node):
    """Returns the normal form of a parsed JSON value, None for what counts as absent."""
    if v is None or v is True or v is False:
        return v
    if type(v) is Number:
        return double(v) if node.kind in DOUBLES else exact(v)
    if type(v) is str:
        return instant(v) if node.kind in INSTANTS else "s" + v
    if type(v) is dict:
        out = {}
        if node.kind == "map":
            for k, x in v.items():
                if (n := normal(x, node.element)) is not None:
                    out[k] = n
            return out or None
        fields = node.fields or NOTHING.fields
        for k, x in v.items():
            n = normal(x, fields.get(k, NOTHING))
            if n is not None:
                out[k] = n
        return out or None
    below = node.element or NOTHING
    return [normal(x, below) for x in v] or None


class Unsure(Exception):
    """The quick way cannot tell the normal form."""


def quick(v, node, count):
    """Returns what normal returns for an object that orjson parsed, or raises Unsure. It adds to count[0] the members of
    v and below. orjson keeps no text of a number, so a fraction is unsure: an integer is not, orjson makes a float of
    one beyond 64 bits."""
    if node.kind == "map":
        raise Unsure
    count[0] += len(v)
    out, fields = {}, node.fields or NOTHING.fields
    for k, x in v.items():
        t = type(x)
        if t is str:
            out[k] = instant(x) if k in node.special and fields[k].kind in INSTANTS else "s" + x
        elif t is dict:
            if x and (n := quick(x, fields.get(k, NOTHING), count)):
                out[k] = n
        elif t is int:
            out[k] = double(str(x)) if k in node.special and fields[k].kind in DOUBLES else integer(x)
        elif t is list:
            if x:
                out[k] = quick_list(x, fields.get(k, NOTHING).element or NOTHING, count)
        elif t is bool:
            out[k] = x
        elif x is not None:
            raise Unsure
    return out or None


def quick_list(values, node, count):
    out = []
    for x in values:
        if type(x) is dict:
            out.append(quick(x, node, count))
        elif type(x) is list:
            out.append(quick_list(x, node.element or NOTHING, count) if x else None)
        elif type(x) is float:
            raise Unsure
        else:
            out.append(normal(Number(x) if type(x) is int else x, node))
    return out


def integer(x):
    """Returns the normal form of an int."""
    if x % 10:
        return f"n{x}e0"
    return exact(str(x))


def exact(text):
    """Returns the normal form of a number as the decimal that its text says."""
    digits = text[1:] if text[0] == "-" else text
    if digits.isdigit():
        short = digits.lstrip("0").rstrip("0")
        if not short:
            return "n0"
        sign = "-" if text[0] == "-" else ""
        zeros = len(digits) - len(digits.rstrip("0"))
        return f"n{sign}{short}e{zeros}"
    sign, ds, exp = Decimal(text).as_tuple()
    s = "".join(map(str, ds)).lstrip("0")
    short = s.rstrip("0")
    if not short:
        return "n0"
    return f"n{'-' if sign else ''}{short}e{exp + len(s) - len(short)}"


def double(text):
    """Returns the form below a double column: the double's, if printing it with the text's digits gives the text."""
    want = exact(text)
    if want == "n0":
        return want
    f = float(text)
    if f == 0 or f in (float("inf"), float("-inf")):
        return want
    digits = len(want[1:].lstrip("-").partition("e")[0])
    return exact(repr(f)) if exact("%.*e" % (digits - 1, f)) == want else want


EPOCH, MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)
SIMPLE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)


def instant(text):
    """Returns the form below a timestamp column: the instant, or the text if it is none of whole microseconds."""
    if len(text) == 20 and text[19] == "Z" and SIMPLE.match(text):
        try:
            return "t%d" % ((datetime.fromisoformat(text[:19]) - EPOCH) // MICROSECOND)
        except ValueError:
            pass  # the year 0, or no date
    m = RFC3339.fullmatch(text)
    if not m:
        return "s" + text
    y, mo, d, h, mi, s = (int(x) for x in m.groups()[:6])
    fraction = m[7] or ""
    if not (1 <= mo <= 12 and 1 <= d <= days_in(y, mo) and h < 24 and mi < 60 and s < 60) or fraction[6:].strip("0"):
        return "s" + text
    zone = 0
    if m[8]:
        if int(m[9]) > 23 or int(m[10]) > 59:
            return "s" + text
        zone = (int(m[9]) * 60 + int(m[10])) * (-60 if m[8] == "-" else 60)
    seconds = days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - zone
    return "t%d" % (seconds * 1_000_000 + int((fraction + "000000")[:6]))


def days_in(y, m):
    if m == 2:
        return 29 if y % 4 == 0 and (y % 100 != 0 or y % 400 == 0) else 28
    return 30 if m in (4, 6, 9, 11) else 31


def days_from_civil(y, m, d):
    """Returns the days since 1970-01-01 in the proleptic Gregorian calendar."""
    y -= m <= 2
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (m + (-3 if m > 2 else 9)) + 2) // 5 + d - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


def put_back(row, pointer, text, node):
    """Sets the value rescued from a JSON pointer in a row's normal form; node is the row's type."""
    steps = [s.replace("~1", "/").replace("~0", "~") for s in pointer.split("/")[1:]]
    value, at = strict_loads(text), row
    for i, step in enumerate(steps):
        last = i == len(steps) - 1
        if isinstance(at, list):
            step, node = int(step), node.element or NOTHING
            at.extend([None] * (step + 1 - len(at)))
            there = at[step]
        else:
            node = node.element if node.kind == "map" else (node.fields or {}).get(step, NOTHING)
            there = at.get(step)
        if last:
            if there is not None:
                raise ValueError(f"{pointer}: rescued, and in its column too")
            if (n := normal(value, node)) is not None:
                at[step] = n
        else:
            if there is None:
                there = at[step] = {}
            at = there


def strict_loads(text):
    """Parses one JSON value, numbers kept as written. ValueError: not JSON by RFC 8259, DuplicateKey apart."""
    return DECODER.decode(text)


class DuplicateKey(ValueError):
    pass


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def unique(pairs):
    d = dict(pairs)
    if len(d) != len(pairs):
        raise DuplicateKey("duplicate key")
    return d


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=no_constant, object_pairs_hook=unique)


def digest(form):
    """Returns 16 bytes that stand for a row's normal form."""
    try:
        text = orjson.dumps(form or {}, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair, or nested too deep for it
        text = json.dumps(form or {}, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).digest()
