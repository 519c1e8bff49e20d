#!/usr/bin/env python3
"""Judges Iceberg tables against the source they were filled from. It shares no code with the product.

    check.py --brokers 127.0.0.1:9092 --topic events --table TABLE --dead-letters TABLE
    check.py --truth records.ndjson --by /type --table PushEvent=TABLE --table ForkEvent=TABLE ...
    check.py --brokers ... --topic ... --any --table TABLE --table TABLE ...

With --by, a member of the record says which table is its; with --any, each may be in any one of them, as after a
change of routes. A TABLE is the address of a metadata.json (a path, or s3://...), or a catalog and a name:
sqlite:/path/catalog.db#ns.name, rest:http://host:port#ns.name, postgres:URL#ns.name (by the program psql). With --any,
ns.* in a sqlite: or rest: catalog is every table of the namespace but the dead letters.

Every unit of the source must be in its table once, or among the dead letters once with its own bytes, or be one that
is skipped; nothing else may be there. Contents are compared in the normal form of normal.py. Every engine reads the
tables on its own. One line an engine, with --json one more of figures. The first violation is printed with its
coordinates; the rest are counted, and the engines after it are not asked. Status 1 if there is one.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import urllib.request

import engines
import normal
import truth

DEAD_COLUMNS = engines.COORDINATES + ["_fh_topic", "payload", "payload_size", "payload_sha256"]


class Violation(Exception):
    """Ends the comparison at once."""


class Faults:
    """Counts what is lost, duplicated, or wrong in another way, and keeps the first."""

    def __init__(self):
        self.lost = self.duplicated = self.wrong = 0
        self.first = ""

    def add(self, kind, text):
        """Counts a fault. text is the message, or a function that makes it, called for the first fault alone."""
        setattr(self, kind, getattr(self, kind) + 1)
        if not self.first:
            self.first = text() if callable(text) else text

    def __str__(self):
        return f"{self.first}\nin all: {self.lost} lost, {self.duplicated} duplicated, {self.wrong} wrong"


def key(partition, offset, sub):
    return partition << 80 | offset << 20 | sub


def where(k):
    return f"partition {k >> 80}, offset {k >> 20 & (1 << 60) - 1}, sub {k & (1 << 20) - 1}"


def resolve(address):
    """Returns the metadata address of a TABLE."""
    catalog, _, name = address.partition("#")
    kind, _, place = catalog.partition(":")
    namespace, _, table = name.rpartition(".")
    sql = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = '%s' AND table_name = '%s'" % (namespace, table)
    if kind == "sqlite":
        with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as db:
            found = db.execute(sql).fetchone()
        found = found and found[0]
    elif kind == "postgres":
        found = subprocess.run(["psql", "-XAtq", place, "-c", sql], check=True, capture_output=True, text=True).stdout.strip()
    elif kind == "rest":
        with urllib.request.urlopen(f"{place}/v1/namespaces/{namespace}/tables/{table}", timeout=30) as r:
            found = json.load(r)["metadata-location"]
    else:
        return address
    if not found:
        raise SystemExit(f"{address}: the catalog has no such table")
    return found


def expand(address, dead):
    """Returns the TABLEs that ns.* stands for, or the one."""
    if not address.endswith(".*"):
        return [address]
    catalog, _, name = address.partition("#")
    kind, _, place = catalog.partition(":")
    if kind == "sqlite":
        with sqlite3.connect(f"file:{place}?mode=ro", uri=True) as db:
            rows = db.execute("SELECT table_name FROM iceberg_tables WHERE table_namespace = ?", (name[:-2],)).fetchall()
        found = [n for (n,) in rows]
    elif kind == "rest":
        with urllib.request.urlopen(f"{place}/v1/namespaces/{name[:-2]}/tables", timeout=30) as r:
            found = [i["name"] for i in json.load(r)["identifiers"]]
    else:
        raise SystemExit(f"{address}: * works with sqlite: and rest: only")
    tables = [f"{address[:-1]}{n}" for n in sorted(found)]
    return [t for t in tables if resolve(t) != dead]


class Table:
    """One table to judge: its address, the schema in force, and its type tree."""

    def __init__(self, address, s3):
        self.metadata = resolve(address)
        doc = engines.read_json(self.metadata, s3)
        self.schema = next(s for s in doc["schemas"] if s["schema-id"] == doc["current-schema-id"])
        self.tree = normal.type_tree(self.schema)


# ---- What a worker process does. STATE is what start hands to each of them. ----

STATE = {}
LOST = object()  # the place of a unit that is in no table


def start(tables, by, topic):
    STATE.update(tables=tables, by=by, topic=topic)


def route(obj, k, places):
    """Returns the name of the table that a parsed unit belongs in, or None. places has where units are, with --any."""
    if places is not None:
        return places.get(k, LOST)
    if not STATE["by"]:
        return ""
    for step in STATE["by"].split("/")[1:]:
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj if type(obj) is str and obj in STATE["tables"] else None


def judge_records(args):
    """Returns what must become of a batch of records: rows by (table, key, digest), dead letters, lost ones, and counts."""
    batch, places = args
    rows, dead, lost, skipped = [], [], [], 0
    for partition, offset, value in batch:
        if row := quick(value, key(partition, offset, 0), places):
            rows.append(row)
            continue
        for sub, (fate, what) in enumerate(truth.units(value)):
            k = key(partition, offset, sub)
            if fate == truth.SKIP:
                skipped += 1
            elif fate == truth.DEAD:
                dead.append((k, hashlib.sha256(what).digest()))
            elif (name := route(what, k, places)) is None:
                dead.append((k, None))  # its bytes are not compared: the parser does not keep them
            elif name is LOST:
                lost.append(k)
            else:
                rows.append((name, k, normal.digest(normal.normal(what, STATE["tables"][name].tree))))
    return rows, dead, lost, skipped, len(batch)


def quick(value, k, places):
    """Returns the row that a record becomes, if that is easily told. Most records take this way, at a third of the cost."""
    obj, members = truth.plain(value)
    if obj is None or type(name := route(obj, k, places)) is not str:
        return None
    count = [0]
    try:
        form = normal.quick(obj, STATE["tables"][name].tree, count)
    except normal.Unsure:
        return None
    return (name, k, normal.digest(form)) if count[0] == members else None


def judge_rows(args):
    """Returns the key and digest of each row of a packed batch of a table."""
    name, packed = args
    batch = engines.unpack(packed)
    t = STATE["tables"][name]
    if STATE["topic"] and (odd := set(batch.column("_fh_topic").to_pylist()) - {STATE["topic"], STATE["topic"].encode()}):
        raise Violation(f"table {name!r} has rows of the topics {sorted(odd)}")
    forms = engines.forms(batch, t.schema)
    return [(key(*c), normal.digest(f)) for c, f in zip(coordinates(batch), forms)]


def coordinates(batch):
    return zip(*(batch.column(c).to_pylist() for c in engines.COORDINATES))


# ---- What the main process does. ----


class Judge:
    def __init__(self, source, tables, dead_letters, topic, pool):
        self.source, self.tables, self.dead_letters, self.topic = source, tables, dead_letters, topic
        self.pool, self.faults = pool, Faults()
        self.rows = {name: {} for name in tables}
        self.dead, self.skipped, self.records = {}, 0, 0
        self.seen = {"rows": 0, "dead_letters": 0}  # as the last engine read them

    def read_source(self, places):
        for rows, dead, lost, skipped, records in self.pool.imap_unordered(judge_records, self.batches(places)):
            for name, k, d in rows:
                self.rows[name][k] = d
            self.dead.update(dead)
            for k in lost:
                self.faults.add("lost", f"{where(k)}: lost: in none of the tables")
            self.skipped += skipped
            self.records += records
        if self.dead and not self.dead_letters:
            raise Violation(f"{where(min(self.dead))}: belongs among the dead letters, and --dead-letters is not given")

    def batches(self, places):
        """Yields batches of records with what places knows of them: table names by partition and offset."""
        for batch in self.source.batches():
            if places is None:
                yield batch, None
                continue
            known = {}
            for p, o, _ in batch:
                for sub, name in places.get(key(p, o, 0), ()):
                    known[key(p, o, sub)] = name
            yield batch, known

    def places(self, engine):
        """Returns where every row is, by the key of its record."""
        found = {}
        for name, t in self.tables.items():
            for batch in engine.batches(t.metadata, engines.COORDINATES):
                for p, o, sub in coordinates(batch):
                    found.setdefault(key(p, o, 0), []).append((sub, name))
        return found

    def judge(self, engine):
        """Compares every table as one engine reads it; returns the line to print."""
        self.seen = {"rows": 0, "dead_letters": 0}
        for name, t in self.tables.items():
            left = dict.fromkeys(self.rows[name])
            batches = ((name, packed) for packed in engine.packed(t.metadata))
            for got in self.pool.imap_unordered(judge_rows, batches):
                self.seen["rows"] += len(got)
                for k, d in got:
                    self.row(engine, name, k, d, left)
            for k in sorted(left):
                self.faults.add("lost", f"{where(k)}: lost: not in table {name!r}")
        if self.dead_letters:
            self.judge_dead(engine)
        return f"ok: {self.seen['rows']} rows in {len(self.tables)} tables, {self.seen['dead_letters']} dead letters, {self.skipped} skipped; contents equal"

    def row(self, engine, name, k, d, left):
        want = self.rows[name].get(k)
        if want is None:
            elsewhere = next((n for n, rows in self.rows.items() if k in rows), None)
            if elsewhere is None:
                self.faults.add("wrong", lambda: f"{where(k)}: in table {name!r}, and no unit of the source belongs there")
            else:
                self.faults.add("duplicated", lambda: f"{where(k)}: duplicated: in table {name!r}, and it belongs in {elsewhere!r}")
        elif k not in left:
            self.faults.add("duplicated", lambda: f"{where(k)}: duplicated: twice in table {name!r}")
        else:
            del left[k]
            if d != want:
                self.faults.add("wrong", lambda: f"{where(k)}: table {name!r} holds something else:\n{self.explain(engine, name, k)}")

    def judge_dead(self, engine):
        left = dict.fromkeys(self.dead)
        for batch in engine.batches(self.dead_letters, DEAD_COLUMNS):
            columns = (batch.column(c).to_pylist() for c in DEAD_COLUMNS[3:])
            for c, topic, payload, size, sha in zip(coordinates(batch), *columns):
                if self.topic and topic not in (self.topic, self.topic.encode()):
                    continue
                self.seen["dead_letters"] += 1
                k = key(*c)
                if k not in self.dead:
                    self.faults.add("wrong", f"{where(k)}: a dead letter, and no unit of the source should be one there")
                elif k not in left:
                    self.faults.add("duplicated", f"{where(k)}: duplicated: a dead letter twice")
                else:
                    del left[k]
                    self.payload(k, payload or b"", size, sha)
        for k in sorted(left):
            self.faults.add("lost", f"{where(k)}: lost: not among the dead letters")

    def payload(self, k, payload, size, sha):
        digest = hashlib.sha256(payload).digest()
        sha = sha.decode() if isinstance(sha, bytes) and len(sha) == 64 else sha
        if size != len(payload) or sha not in (digest, digest.hex()):
            self.faults.add("wrong", f"{where(k)}: the dead letter's size or checksum is not that of its payload")
        elif self.dead[k] not in (None, digest, hashlib.sha256(payload.strip()).digest()):
            self.faults.add("wrong", f"{where(k)}: the dead letter's payload is not the record's bytes: {payload[:200]!r}")

    def explain(self, engine, name, k):
        """Returns the first members in which the source and the table differ."""
        at, t = (k >> 80, k >> 20 & (1 << 60) - 1), self.tables[name]
        unit = list(truth.units(self.source.one(*at)[2]))[k & (1 << 20) - 1][1]
        want = normal.normal(unit, t.tree) or {}
        for batch in engines.Apart(engine.name).batches(t.metadata, at=at):  # the engine is in the middle of the table
            for c, got in zip(coordinates(batch), engines.forms(batch, t.schema)):
                if key(*c) == k:
                    return "\n".join(f"  {m}\n    source {json.dumps(want.get(m))[:500]}\n    table  {json.dumps(got.get(m))[:500]}"
                                     for m in sorted(want.keys() | got.keys()) if want.get(m) != got.get(m))
        return "  (the row is gone)"


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--brokers")
    p.add_argument("--topic", default="")
    p.add_argument("--truth", help="a file instead of a topic: see truth.File")
    p.add_argument("--table", action="append", required=True, metavar="[VALUE=]TABLE")
    p.add_argument("--by", default="", metavar="POINTER", help="the member whose value names the table")
    p.add_argument("--any", action="store_true", help="a record may be in any one of the tables")
    p.add_argument("--dead-letters", metavar="TABLE")
    p.add_argument("--engines", default="duckdb,pyiceberg")
    p.add_argument("--processes", type=int, default=os.cpu_count())
    p.add_argument("--json", action="store_true", help="print figures as a last line of JSON")
    o = p.parse_args()
    if bool(o.truth) == bool(o.brokers and o.topic):
        p.error("name the source: --truth FILE, or --brokers and --topic")
    if o.by and o.any or not (o.by or o.any) and len(o.table) > 1:
        p.error("several tables need --by or --any, not both")
    if odd := set(o.engines.split(",")) - engines.ENGINES.keys():
        p.error(f"--engines: {', '.join(sorted(odd))} is none of {', '.join(engines.ENGINES)}")
    return o


def ask(judge, names, by_place):
    """Lets every engine judge until one finds a fault; returns those that were asked. A line is printed for each."""
    asked = []
    who = "source"
    try:
        judge.read_source(judge.places(engines.Apart(names[0])) if by_place else None)
        for name in names if not judge.faults.first else ():
            engine = engines.Apart(name)
            asked.append(who := f"{engine.name} {engine.version}")
            line = judge.judge(engine)
            if judge.faults.first:
                break
            print(f"{who}: {line}", flush=True)
    except Violation as v:
        judge.faults.add("wrong", str(v))
    if judge.faults.first:
        print(f"{who}: VIOLATION: {judge.faults}", flush=True)
    return asked


def main():
    o, s3 = options(), engines.S3()
    dead = resolve(o.dead_letters) if o.dead_letters else None
    if o.any:
        named = [(address, address) for t in o.table for address in expand(t, dead)]
    else:
        named = [t.split("=", 1) if o.by else ["", t] for t in o.table]
    tables = {name: Table(address, s3) for name, address in named}
    source = truth.File(os.path.abspath(o.truth)) if o.truth else truth.Topic(o.brokers, o.topic)
    # started afresh: the engines' and librdkafka's threads do not survive a fork
    with multiprocessing.get_context("spawn").Pool(o.processes, start, (tables, o.by, o.topic)) as pool:
        judge = Judge(source, tables, dead, o.topic, pool)
        asked = ask(judge, o.engines.split(","), o.any)
    f = judge.faults
    if o.json:
        print(json.dumps({"records": judge.records, "tables": len(tables), **judge.seen, "skipped": judge.skipped, "lost": f.lost,
                          "duplicated": f.duplicated, "wrong": f.wrong, "engines": asked}), flush=True)
    sys.exit(1 if f.first else 0)


if __name__ == "__main__":
    main()
