"""Shows that the checker agrees with a right table and finds each kind of wrong one. The tables are written by PyIceberg."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import unittest

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINES = os.environ.get("CHECKER_ENGINES", "duckdb,pyiceberg")

RECORDS = [  # partition, offset, value
    (0, 0, b'{"type":"a","n":1,"x":0.5,"at":"2024-01-01T00:00:00Z","o":{"k":["u",null]}}'),
    (0, 1, b'{"type":"b","n":"not a number","o":{"k":[]}}'),
    (0, 2, b'{"type":"a"}\n{"type":"a","n":2}'),
    (0, 3, b'{"type":'),
    (1, 0, None),
    (1, 7, b'{"type":"b","x":1e0}'),
]
DAY = 1704067200000000
ROWS = [
    dict(type="a", n=1, x=0.5, at=DAY, o={"k": ["u", None]}, _fh_partition=0, _fh_offset=0, _fh_sub=0),
    dict(type="b", _fh_rescued='{"/n":"\\"not a number\\""}', _fh_partition=0, _fh_offset=1, _fh_sub=0),
    dict(type="a", _fh_partition=0, _fh_offset=2, _fh_sub=0),
    dict(type="a", n=2, _fh_partition=0, _fh_offset=2, _fh_sub=1),
    dict(type="b", x=1.0, _fh_partition=1, _fh_offset=7, _fh_sub=0),
]
DEAD = [dict(code="syntax", payload=b'{"type":', _fh_partition=0, _fh_offset=3, _fh_sub=0)]

COORDINATES = [("_fh_topic", pa.string()), ("_fh_partition", pa.int32()), ("_fh_offset", pa.int64()), ("_fh_sub", pa.int32())]
ROW_SCHEMA = pa.schema([("type", pa.string()), ("n", pa.int64()), ("x", pa.float64()), ("at", pa.timestamp("us", "UTC")),
                        ("o", pa.struct([("k", pa.list_(pa.string()))])), ("_fh_rescued", pa.string()), *COORDINATES])
DEAD_SCHEMA = pa.schema([("code", pa.string()), ("payload", pa.binary()), ("payload_size", pa.int64()),
                         ("payload_sha256", pa.string()), *COORDINATES])


class Check(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.dir = cls.folder.name
        cls.catalog = SqlCatalog("default", uri=f"sqlite:///{cls.dir}/catalog.db", warehouse=f"file://{cls.dir}/warehouse")
        cls.catalog.create_namespace("ns")
        cls.truth = f"{cls.dir}/truth.ndjson"
        with open(cls.truth, "w") as f:
            for p, o, v in RECORDS:
                print(json.dumps({"partition": p, "offset": o, "value": v if v is None else base64.b64encode(v).decode()}), file=f)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    namespace = "ns"

    def write(self, name, rows, schema):
        table = self.catalog.create_table(f"{self.namespace}.{name}", schema)
        for part in (rows[::2], rows[1::2]):  # two commits, two files
            table.append(pa.Table.from_pylist([{"_fh_topic": "t", **r} for r in part], schema=schema))
        return f"sqlite:{self.dir}/catalog.db#{self.namespace}.{name}"

    def check(self, rows=ROWS, dead=DEAD, by=(), any=False, suffix="", star=False):
        name = self._testMethodName + suffix
        dead = [{"payload_size": len(d["payload"]), "payload_sha256": hashlib.sha256(d["payload"]).hexdigest(), **d} for d in dead]
        args = ["--dead-letters", self.write(name + "_dlq", dead, DEAD_SCHEMA)]
        if by:
            args += ["--any"] if any else ["--by", "/type"]
        for value in by or ("",):
            part = [r for r in rows if not value or r["type"] == value]
            table = (value + "=" if value and not any else "") + self.write(name + value, part, ROW_SCHEMA)
            args += [] if star else ["--table", table]
        if star:
            args += ["--table", f"sqlite:{self.dir}/catalog.db#{self.namespace}.*"]
        done = subprocess.run([sys.executable, f"{HERE}/check.py", "--json", "--truth", self.truth, "--engines", ENGINES, *args],
                              capture_output=True, text=True)
        self.assertNotIn("Traceback", done.stderr)
        self.figures = json.loads(done.stdout.splitlines()[-1])
        return done.returncode, done.stdout

    def wrong(self, want, lost=0, duplicated=0, wrong=0, **kw):
        """Wants a message, and these counts of faults."""
        code, out = self.check(**kw)
        self.assertEqual(code, 1, out)
        self.assertIn(want, out)
        f = self.figures
        self.assertEqual((f["lost"], f["duplicated"], f["wrong"]), (lost, duplicated, wrong), out)

    def test_right(self):
        code, out = self.check()
        self.assertEqual(code, 0, out)
        self.assertEqual(out.count("ok: 5 rows in 1 tables, 1 dead letters, 1 skipped; contents equal"), len(ENGINES.split(",")), out)
        self.assertEqual([e.split()[0] for e in self.figures.pop("engines")], ENGINES.split(","))
        self.assertEqual(self.figures, {"records": 6, "rows": 5, "tables": 1, "dead_letters": 1, "skipped": 1,
                                        "lost": 0, "duplicated": 0, "wrong": 0})

    def test_right_by_type(self):
        code, out = self.check(by=("a", "b"))
        self.assertEqual(code, 0, out)

    def test_right_anywhere(self):
        moved = [{**ROWS[0], "type": "b"}] + ROWS[1:]  # says b, so it is written to the other table
        self.wrong("holds something else", wrong=1, rows=moved, by=("a", "b"), any=True)
        code, out = self.check(by=("a", "b"), any=True, suffix="_right")
        self.assertEqual(code, 0, out)

    def test_in_two_tables(self):
        twice = [{**ROWS[0], "type": "b", "n": 1}] + ROWS
        self.wrong("duplicated: in table", duplicated=1, wrong=1, rows=twice, by=("a", "b"), any=True)

    def test_any_means_every_table_of_the_namespace(self):
        self.namespace = "own"
        self.catalog.create_namespace("own")
        code, out = self.check(by=("a", "b"), any=True, star=True)
        self.assertEqual((code, self.figures["tables"], self.figures["rows"]), (0, 2, 5), out)

    def test_lost_anywhere(self):
        self.wrong("partition 1, offset 7, sub 0: lost: in none of the tables", lost=1, rows=ROWS[:-1], by=("a", "b"), any=True)

    def test_lost_row(self):
        self.wrong("partition 1, offset 7, sub 0: lost", lost=1, rows=ROWS[:-1])

    def test_lost_sub(self):
        self.wrong("partition 0, offset 2, sub 1: lost", lost=1, rows=ROWS[:3] + ROWS[4:])

    def test_duplicated_row(self):
        self.wrong("partition 1, offset 7, sub 0: duplicated", duplicated=1, rows=ROWS + ROWS[-1:])

    def test_invented_row(self):
        self.wrong("partition 1, offset 8, sub 0: in table", wrong=1, rows=ROWS + [{**ROWS[-1], "_fh_offset": 8}])

    def test_changed_value(self):
        self.wrong("source \"n1e0\"\n    table  \"n2e0\"", wrong=1, rows=[{**ROWS[0], "n": 2}] + ROWS[1:])

    def test_lost_rescue(self):
        self.wrong("partition 0, offset 1, sub 0: table '' holds something else", wrong=1, rows=ROWS[:1] + [{**ROWS[1], "_fh_rescued": None}] + ROWS[2:])


    def test_dead_letter_lost(self):
        self.wrong("partition 0, offset 3, sub 0: lost: not among the dead letters", lost=1, dead=[])

    def test_dead_letter_bytes(self):
        self.wrong("is not the record's bytes", wrong=1, dead=[{**DEAD[0], "payload": b"{"}])

    def test_dead_letter_checksum(self):
        self.wrong("size or checksum", wrong=1, dead=[{**DEAD[0], "payload_size": 7}])

    def test_dead_letter_duplicated(self):
        self.wrong("duplicated: a dead letter twice", duplicated=1, dead=DEAD * 2)

    def test_dead_letter_invented(self):
        self.wrong("a dead letter, and no unit", wrong=1, dead=DEAD + [{**DEAD[0], "_fh_offset": 1}])

    def test_every_fault_is_counted(self):
        """The first is told, and all are counted."""
        self.wrong("in all: 2 lost, 2 duplicated, 1 wrong", lost=2, duplicated=2, wrong=1,
                   rows=[{**ROWS[0], "n": 2}] + ROWS[3:] + ROWS[4:] + ROWS[4:])

    def test_row_that_should_be_dead(self):
        self.wrong("partition 0, offset 3, sub 0: in table", wrong=1, rows=ROWS + [dict(type="a", _fh_partition=0, _fh_offset=3, _fh_sub=0)])


if __name__ == "__main__":
    unittest.main()
