import unittest
import unittest.mock

import pyarrow as pa

import check
import engines
import normal as n
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


class Quick(unittest.TestCase):
    """The quick way must say what the careful one says, or nothing."""

    class Table:
        tree = n.type_tree(SCHEMA)

    def test_agrees(self):
        check.start({"": self.Table}, "", "")
        sure = [
            b'{}', b'{"a":0,"b.c":-120,"z":18446744073709551615}', b' {"a":1}'[1:], b'{"a":1}\n', b'{"x":{"y":{"z":[]}},"u":[{}]}',
            b'{"l":[{"x":"u","y":true},{},null,[],[[]],7,-70,"1970-01-01T00:00:00Z"],"a":"text","s":[1,{"at":0}]}',
            b'{"s":{"at":"1970-01-01T01:00:00+01:00","no":"1970-01-01T00:00:00Z"},"b.c":9007199254740993}',
            b'{"s":{"at":"2024-02-29T23:59:59Z"}}', b'{"s":{"at":"0000-01-01T00:00:00Z"}}', b'{"s":{"at":"2023-02-29T00:00:00Z"}}',
            b'{"s":{"at":"2016-12-31T23:59:60Z"}}', b'{"s":{"at":"2016-12-31T24:00:00Z"}}', b'{"s":{"at":"2016-12-31 23:59:59Z"}}',
            '{"\u00e9\\u00e9":"\\u0000\u20ac\\/"}'.encode(), b'{"a": 1, "b":\t2}',
        ]
        unsure = [
            b'{"a":1.0}', b'{"l":[1.5]}', b'{"l":[[1e2]]}', b'{"a":12345678901234567890123}', b'{"a":-9223372036854775809}', b'{"a":1e400}',
            b'{"a":1,"a":1}', b'{"a":1,"a" :2}', b'{"s":{"at":0,"at":1}}', b'{"l":[{"x":1,"x":2}]}', b'{"x":"\\":","a":1,"a":2}',
            b'{"a" :1}', b'{"x":":"}', b'{"a":1}{"a":2}', b'{"a":1}x', b'{"a":NaN}', b'{"a":01}', b'{"a":"\xff"}', b'{"a":"\\ud83d"}',
            b'{"a":"\t"}', b'{"a":1,}', b'[{"a":1}]', b'1', b'', b' ', None, b'\xef\xbb\xbf{"a":1}', b'{"a":' * 2000 + b'1' + b'}' * 2000,
        ]
        for value in sure + unsure:
            got = check.quick(value, check.key(1, 2, 0), None)
            self.assertEqual(got is not None, value in sure, value)
            if got:
                with unittest.mock.patch.object(check, "quick", lambda *_: None):
                    self.assertEqual(check.judge_records(([(1, 2, value)], None)), ([got], [], [], 0, 1), value)

    def test_maps_are_left_to_the_careful_way(self):
        t = self.Table()
        t.tree = n.type_tree({"type": "struct", "fields": [
            {"id": 1, "name": "m", "type": {"type": "map", "key-id": 2, "key": "string", "value-id": 3, "value": "double"}}]})
        check.start({"": t}, "", "")
        self.assertIsNone(check.quick(b'{"m":{"k":1}}', 0, None))


class Columns(unittest.TestCase):
    def test_slices(self):
        """A part of a batch has the forms of that part of the rows, packed or not."""
        t = pa.timestamp("us", "UTC")
        kinds = {"a": pa.int64(), "b_c": pa.float64(), "s": pa.struct([("at", t)]),
                 "l": pa.list_(pa.struct([("x", pa.string()), ("y", pa.bool_())])), "_fh_rescued": pa.string()}
        rows = [{"a": i, "l": [{"x": str(i), "y": None}] * (i % 3), "s": {"at": i} if i % 2 else None} for i in range(10)]
        batch = pa.RecordBatch.from_pylist(rows, schema=pa.schema(kinds.items()))
        whole = engines.forms(batch, SCHEMA)
        self.assertEqual(whole[5], {"a": "n5e0", "l": [{"x": "s5"}, {"x": "s5"}], "s": {"at": "t5"}})
        for at, size in ((0, 10), (3, 4), (9, 1)):
            part = batch.slice(at, size)
            self.assertEqual(engines.forms(part, SCHEMA), whole[at:at + size])
            self.assertEqual(engines.forms(engines.unpack(engines.pack(part)), SCHEMA), whole[at:at + size])


if __name__ == "__main__":
    unittest.main()
