import unittest

import pyarrow as pa

import normal as n
import engines
import truth


class Numbers(unittest.TestCase):
    def test_exact(self):
        for a, b in [("1", "1.0"), ("100", "1e2"), ("-0", "0.000"), ("0.10", "1E-1"), ("9007199254740993", "9007199254740993")]:
            self.assertEqual(n.exact(a), n.exact(b), (a, b))
        self.assertNotEqual(n.exact("9007199254740993"), n.exact("9007199254740992"))
        self.assertNotEqual(n.exact("1"), n.exact("-1"))
        self.assertEqual(n.exact("1e400"), n.exact("10e399"))

    def test_double(self):
        # let into a double column: equal to the double's shortest text
        self.assertEqual(n.double("0.10000000000000001"), n.exact("0.1"))
        self.assertEqual(n.double("1152921504606846976"), n.exact(repr(float(2**60))))
        # not let in: stays the exact decimal, as the rescued text has it
        for text in ("9007199254740993", "1e400", "1e-400", "123456789012345678.9"):
            self.assertEqual(n.double(text), n.exact(text), text)

    def test_instant(self):
        self.assertEqual(n.instant("1970-01-01T00:00:00Z"), "t0")
        self.assertEqual(n.instant("1970-01-01T01:00:00.5+01:00"), "t500000")
        self.assertEqual(n.instant("1969-12-31T23:59:59.999999Z"), "t-1")
        self.assertEqual(n.instant("2000-02-29T00:00:00Z"), "t951782400000000")
        for text in ("1970-01-01T00:00:00.0000001Z", "1970-02-30T00:00:00Z", "2016-12-31T23:59:60Z", "yesterday"):
            self.assertEqual(n.instant(text), "s" + text)


SCHEMA = {"type": "struct", "fields": [
    {"id": 1, "name": "a", "type": "long"},
    {"id": 2, "name": "b_c", "type": "double", "doc": 'json key "b.c"'},
    {"id": 3, "name": "s", "type": {"type": "struct", "fields": [{"id": 4, "name": "at", "type": "timestamptz"}]}},
    {"id": 5, "name": "l", "type": {"type": "list", "element-id": 6, "element": {"type": "struct", "fields": [
        {"id": 7, "name": "x", "type": "string"}, {"id": 8, "name": "y", "type": "boolean"}]}}},
    {"id": 9, "name": "_fh_rescued", "type": "string"},
]}


class Rows(unittest.TestCase):
    def rows(self, **columns):
        ts = pa.timestamp("us", "UTC")
        schema = pa.schema([("a", pa.int64()), ("b_c", pa.float64()), ("s", pa.struct([("at", ts)])),
                            ("l", pa.list_(pa.struct([("x", pa.string()), ("y", pa.bool_())]))), ("_fh_rescued", pa.string())])
        size = len(next(iter(columns.values())))
        batch = pa.record_batch([pa.array(columns.get(f.name, [None] * size), f.type) for f in schema], schema=schema)
        return engines.forms(batch, SCHEMA)

    def equal(self, text, form):
        self.assertEqual(n.normal(n.strict_loads(text), n.type_tree(SCHEMA)) or {}, form)

    def test_values(self):
        got = self.rows(a=[1, None, -20], b_c=[0.1, -0.0, None], s=[{"at": 0}, None, {"at": None}],
                        l=[[{"x": "u", "y": True}, None], [], [{"x": None, "y": None}]])
        self.equal('{"a":1.0,"b.c":0.10000000000000001,"s":{"at":"1970-01-01T01:00:00+01:00"},"l":[{"x":"u","y":true},{}]}', got[0])
        self.equal('{"b.c":0,"l":[]}', got[1])
        self.equal('{"a":-2e1,"s":{},"l":[null],"z":{"q":[]}}', got[2])

    def test_rescued(self):
        got = self.rows(a=[None], l=[[{"x": "u"}, None]],
                        _fh_rescued=['{"/a":"12345678901234567890","/l/1/x":"7","/b.c":"\\"text\\"","/s/k~1/m":"[1, {}]"}'])
        self.equal('{"a":12345678901234567890,"l":[{"x":"u"},{"x":7}],"b.c":"text","s":{"k/":{"m":[1,{}]}}}', got[0])

    def test_rescued_and_kept(self):
        with self.assertRaises(ValueError):
            self.rows(a=[1], _fh_rescued=['{"/a":"1"}'])

    def test_differences_show(self):
        base = self.rows(a=[1], l=[[{"x": "u"}]])[0]
        for other in ({"a": [2]}, {"a": [1], "l": [[{"x": "U"}]]}, {"a": [1], "l": [[{"x": "u"}, None]]}):
            self.assertNotEqual(n.digest(base), n.digest(self.rows(**other)[0]), other)


class Units(unittest.TestCase):
    def fates(self, value):
        return [(f, x if f != truth.ROW else None) for f, x in truth.units(value)]

    def test_units(self):
        row, dead, skip = truth.ROW, truth.DEAD, truth.SKIP
        f = lambda value, *want: self.assertEqual(self.fates(value), list(want), value)
        f(None, (skip, None))
        f(b" \n", (skip, None))
        f(b"", (dead, b""))
        f(b'{"a":1}', (row, None))
        f(b'\xef\xbb\xbf{"a":1}', (row, None))
        f(b'{"a":1}{"a":2}\n', (row, None), (row, None))
        f(b'{"a":1}\n{"a":\n{"a":2}', (row, None), (dead, b'{"a":'), (row, None))
        f(b'{"a":1,}', (dead, b'{"a":1,}'))
        f(b'{}x', (row, None), (dead, b"x"))
        f(b'{"a":NaN}', (dead, b'{"a":NaN}'))
        f(b'{"a":1,"a":2}', (dead, b'{"a":1,"a":2}'))
        f(b'[{"a":1}]', (dead, b'[{"a":1}]'))
        f(b'{"a":"\xff"}', (dead, b'{"a":"\xff"}'))
        f(b"12", (dead, b"12"))


if __name__ == "__main__":
    unittest.main()
