"""Reading an Iceberg table with engines that share no code with the product.

Each engine opens one metadata.json, by path or s3:// address, and yields Arrow batches.
"""

import contextlib
import glob
import importlib
import json
import multiprocessing
import os
import re
import traceback

import pyarrow as pa
import pyarrow.compute as pc

from normal import exact, integer, json_key, put_back, type_tree

RESERVED = "_fh_"
COORDINATES = ["_fh_partition", "_fh_offset", "_fh_sub"]


class S3:
    """Where s3:// addresses are, from the environment: FIREHOSED_S3_ENDPOINT, _KEY and _SECRET."""

    def __init__(self, env=os.environ):
        self.endpoint = env.get("FIREHOSED_S3_ENDPOINT", "")
        self.key, self.secret = env.get("FIREHOSED_S3_KEY", ""), env.get("FIREHOSED_S3_SECRET", "")
        self.scheme, _, self.host = self.endpoint.partition("://")


def read_json(address, s3):
    """Returns the parsed metadata file at an address."""
    if address.startswith("s3://"):
        from pyarrow import fs

        store = fs.S3FileSystem(access_key=s3.key, secret_key=s3.secret, endpoint_override=s3.host, scheme=s3.scheme, region="us-east-1")
        with store.open_input_stream(address[len("s3://"):]) as f:
            return json.loads(f.read())
    with open(local(address), encoding="utf-8") as f:
        return json.load(f)


def local(address):
    return re.sub("^file:(//)?(?=/)", "", address)


class DuckDB:
    name = "duckdb"

    def __init__(self, s3):
        import duckdb

        self.version = duckdb.__version__
        self.c = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
        for n in ("httpfs", "avro", "iceberg"):  # in this order
            d = os.path.dirname(importlib.import_module("duckdb_extension_" + n).__file__)
            self.c.execute("LOAD '%s'" % glob.glob(f"{d}/extensions/*/{n}.duckdb_extension")[0])
        self.c.execute("SET TimeZone='UTC'")
        self.c.execute("SET memory_limit='2GB'")
        self.c.execute("SET preserve_insertion_order=false")
        if s3.endpoint:
            self.c.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{s3.key}', SECRET '{s3.secret}', REGION 'us-east-1', "
                           f"ENDPOINT '{s3.host}', URL_STYLE 'path', USE_SSL {str(s3.scheme == 'https').lower()})")

    def batches(self, metadata, columns=None, at=None):
        what = ", ".join(columns) if columns else "*"
        where = " WHERE _fh_partition = %d AND _fh_offset = %d" % at if at else ""
        rel = self.c.execute(f"SELECT {what} FROM iceberg_scan('{local(metadata)}'){where}")
        reader = rel.to_arrow_reader(5000) if hasattr(rel, "to_arrow_reader") else rel.fetch_record_batch(5000)
        yield from reader


class PyIceberg:
    name = "pyiceberg"

    def __init__(self, s3):
        import pyiceberg

        self.version = pyiceberg.__version__
        self.properties = {"s3.endpoint": s3.endpoint, "s3.access-key-id": s3.key, "s3.secret-access-key": s3.secret,
                           "s3.region": "us-east-1"} if s3.endpoint else {}

    def batches(self, metadata, columns=None, at=None):
        from pyiceberg.expressions import AlwaysTrue, And, EqualTo
        from pyiceberg.table import StaticTable

        t = StaticTable.from_metadata(local(metadata), self.properties)
        where = And(EqualTo("_fh_partition", at[0]), EqualTo("_fh_offset", at[1])) if at else AlwaysTrue()
        for batch in t.scan(row_filter=where, selected_fields=tuple(columns or ["*"])).to_arrow_batch_reader():
            for i in range(0, batch.num_rows, 5000):
                yield batch.slice(i, 5000)


class ClickHouse:
    name = "clickhouse"

    def __init__(self, s3):
        os.chdir("/")  # local paths must lie below the working directory
        import chdb

        self.s3, self.connection = s3, chdb.connect(":memory:")
        self.version = self.connection.query("SELECT version()").data().strip().strip('"')

    def source(self, metadata):
        folder, _, name = metadata.rpartition("/metadata/")
        settings = f"SETTINGS iceberg_metadata_file_path='metadata/{name}'"
        if folder.startswith("s3://"):
            return f"icebergS3('{self.s3.endpoint}/{folder[len('s3://'):]}', '{self.s3.key}', '{self.s3.secret}', {settings})"
        return f"icebergLocal('{local(folder)}', {settings})"

    def batches(self, metadata, columns=None, at=None):
        what = ", ".join(columns) if columns else "*"
        where = " WHERE _fh_partition = %d AND _fh_offset = %d" % at if at else ""
        sql = f"SELECT {what} FROM {self.source(metadata)}{where} SETTINGS output_format_arrow_string_as_string=0, max_memory_usage=3000000000"
        yield from self.connection.send_query(sql, "Arrow").record_batch(rows_per_batch=5000)


ENGINES = {e.name: e for e in (DuckDB, PyIceberg, ClickHouse)}


class Apart:
    """An engine in a process of its own: there it shares neither Python's lock nor its memory with anybody. One reading at a time."""

    def __init__(self, name):
        spawn = multiprocessing.get_context("spawn")
        self.name, (self.pipe, theirs) = name, spawn.Pipe()
        spawn.Process(target=serve, args=(name, theirs), daemon=True).start()
        theirs.close()
        self.version = self.raise_failed(self.pipe.recv())

    def packed(self, metadata, columns=None, at=None):
        """Yields the batches of a table, or of a record of it, as pack makes them."""
        self.pipe.send((metadata, columns, at))
        while isinstance(message := self.pipe.recv(), bytes):
            yield message
        self.raise_failed(message)

    def batches(self, metadata, columns=None, at=None):
        return map(unpack, self.packed(metadata, columns, at))

    def raise_failed(self, answer):
        text, failed = answer
        if failed:
            raise RuntimeError(f"{self.name}: {text}")
        return text


def serve(name, pipe):
    """Answers for an engine until nobody asks any more, be that in the middle of an answer."""
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            engine = ENGINES[name](S3())
        except Exception:
            return pipe.send((traceback.format_exc(), True))
        pipe.send((engine.version, False))
        while True:
            for message in answer(engine, *pipe.recv()):
                pipe.send(message)


def answer(engine, metadata, columns, at):
    """Yields packed batches, and then how it ended: a text, and whether it failed."""
    try:
        for batch in engine.batches(metadata, columns, at):
            yield pack(batch)
    except Exception:
        yield traceback.format_exc(), True
    else:
        yield "", False


def forms(batch, schema):
    """Returns the normal form of each row of a batch; schema is the table's, as metadata.json has it."""
    tree, rows = type_tree(schema), [{} for _ in range(batch.num_rows)]
    rescued = ([], [])
    for f in schema["fields"]:
        i = batch.schema.get_field_index(f["name"])
        if i < 0:
            raise ValueError(f"column {f['name']} is in the schema and not in what the engine returned")
        if f["name"] == RESERVED + "rescued":
            rescued = cells(batch.column(i), "string")
        elif not f["name"].startswith(RESERVED):
            put(rows, json_key(f), cells(batch.column(i), f["type"]))
    for row, text in zip(*rescued):
        for pointer, value in rescued_values(text[1:]).items():
            put_back(rows[row], pointer, value, tree)
    return rows


def rescued_values(text):
    rescued = json.loads(text)
    if not all(isinstance(v, str) for v in rescued.values()):
        raise ValueError(f"_fh_rescued holds something that is no text: {text}")
    return rescued


def pack(batch):
    """Returns a batch as bytes. Pickling a slice would take along all that it is a slice of."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as w:
        w.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpack(data):
    return pa.ipc.open_stream(data).read_next_batch()


# ---- From Arrow to normal forms, a column at a time. What a column holds is a pair: the rows where a value is present,
# ascending, and their forms. ----


def cells(arr, t):
    """Returns the rows and normal forms of a column's present cells; t is the column's Iceberg type."""
    if isinstance(arr, pa.ChunkedArray):
        arr = arr.combine_chunks()
    rows = present(arr)
    if not rows:
        return [], []
    if len(rows) < len(arr):
        arr = arr.drop_null()
    if isinstance(t, str):
        return rows, leaf(arr, t)
    below = {"struct": structs, "list": lists, "map": maps}[t["type"]](arr, t)
    if all(below):
        return rows, below
    kept = [(r, v) for r, v in zip(rows, below) if v]
    return [r for r, _ in kept], [v for _, v in kept]


def present(arr):
    if not arr.null_count:
        return range(len(arr))
    if arr.null_count == len(arr):
        return []
    return pc.indices_nonzero(arr.is_valid()).to_pylist()


def put(dicts, key, found):
    """Sets the member of some of the dicts."""
    rows, values = found
    if len(rows) == len(dicts):
        for d, v in zip(dicts, values):
            d[key] = v
    else:
        for row, v in zip(rows, values):
            dicts[row][key] = v


def leaf(arr, t):
    """Returns the forms of an array without nulls."""
    if pa.types.is_dictionary(arr.type):
        arr = arr.dictionary_decode()
    if t in ("long", "int"):
        return [integer(v) for v in arr.to_pylist()]
    if t in ("double", "float"):
        return [exact(repr(v)) if v == v and abs(v) != float("inf") else f"n{v}" for v in arr.to_pylist()]
    if t == "boolean":
        return [bool(v) for v in arr.to_pylist()]
    if t.startswith("timestamp"):
        unit = {"us": 1, "ns": 1000, "ms": 1 / 1000, "s": 1 / 1_000_000}[arr.type.unit]
        instants = arr.cast(pa.int64())
        if unit == 1:
            return prefixed("t", instants.cast(pa.string()))
        return ["t%d" % (v // unit if unit >= 1 else round(v / unit)) for v in instants.to_pylist()]
    if t.startswith("decimal"):
        return [exact(str(v)) for v in arr.to_pylist()]
    if t in ("binary", "uuid") or t.startswith("fixed"):
        return ["s" + (v.hex() if isinstance(v, bytes) else str(v)) for v in arr.to_pylist()]
    if pa.types.is_binary(arr.type) or pa.types.is_large_binary(arr.type):
        return prefixed("s", arr.cast(pa.large_string()))  # it checks that they are UTF-8
    if pa.types.is_string(arr.type) or pa.types.is_large_string(arr.type):
        return prefixed("s", arr)
    return ["s" + str(v) for v in arr.to_pylist()]


def prefixed(prefix, arr):
    return pc.binary_join_element_wise(pa.scalar(prefix, arr.type), arr, pa.scalar("", arr.type)).to_pylist()


def structs(arr, t):
    """Returns the forms of an array without nulls, empty where all members are absent."""
    out = [{} for _ in range(len(arr))]
    children = dict(zip((arr.type.field(i).name for i in range(arr.type.num_fields)), arr.flatten()))
    for f in t["fields"]:
        put(out, json_key(f), cells(children[f["name"]], f["type"]))
    return out


def lists(arr, t):
    """Returns the forms of an array without nulls; an absent element is None."""
    flat = arr.flatten()
    below = [None] * len(flat)
    for i, v in zip(*cells(flat, t["element"])):
        below[i] = v
    out, at = [], 0
    for n in pc.list_value_length(arr).to_pylist():
        out.append(below[at:at + n])
        at += n
    return out


def maps(arr, t):
    """Returns the forms of an array without nulls, empty where all members are absent."""
    keys, values = arr.keys.to_pylist(), dict(zip(*cells(arr.items, t["value"])))
    at = arr.offsets.to_pylist()
    return [{keys[i]: values[i] for i in range(at[row], at[row + 1]) if i in values} for row in range(len(arr))]
