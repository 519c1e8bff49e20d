#!/usr/bin/env python3
"""Prints what a table of many commits holds, as two engines see it that share no code with the product: one JSON object.

    sums.py METADATA

rows: of every partition [partition, rows, distinct offsets, least, greatest, sum of the column c00], by reading all data
files (DuckDB). snapshots, manifests and data_files: of the table and its head (PyIceberg).
"""

import json
import sys

import engines

ROWS = """SELECT _fh_partition, count(*), count(DISTINCT _fh_offset), min(_fh_offset), max(_fh_offset), sum(c00)::BIGINT
FROM iceberg_scan('%s') GROUP BY ALL ORDER BY ALL"""


def main():
    from pyiceberg.table import StaticTable

    metadata = engines.local(sys.argv[1])
    table = StaticTable.from_metadata(metadata)
    manifests = table.current_snapshot().manifests(table.io)
    print(json.dumps({
        "rows": engines.DuckDB(engines.S3({})).c.execute(ROWS % metadata).fetchall(),
        "snapshots": len(table.metadata.snapshots),
        "manifests": len(manifests),
        "data_files": sum(m.added_files_count + m.existing_files_count for m in manifests),
    }))


if __name__ == "__main__":
    main()
