#!/usr/bin/env python3
"""Writes what jq 1.6 prints: expression, record, text; tabs between. "!" stands for null, an error, an array or an object.

    ./jq16.py > jq16.txt
"""

import json
import subprocess

GUIDE = '{"type":{"device":"mobile","event":"user_clicked_submit_button"},"customer_id":"1234567890","event_timestamp":1565382027,"region":"sample_region"}'
OTHER = '{"a":[3,1,2,"x"],"b":{"c":null,"d":"","e":true,"f":-1.5,"g":"é","h":1e3},"t":1565382027123,"iso":"2019-08-09T20:20:27Z","s":"User-42/x y","j":"{\\"k\\":7}","n":9007199254740991}'
EXPRESSIONS = [
    (GUIDE, e) for e in (
        ".customer_id", ".type.device", '.event_timestamp| strftime("%Y")', '.event_timestamp| strftime("%m")', '.event_timestamp| strftime("%d")',
        '.event_timestamp| strftime("%H")', ".event_timestamp", ".region", ".type", ".missing", ".missing.deeper", ".customer_id.x", ".customer_id|tonumber",
        '"\\(.region)-\\(.type.device)"', "if .region == \"sample_region\" then \"s\" else \"o\" end", ".event_timestamp / 86400 | floor", ".event_timestamp % 7",
        '.event_timestamp|strftime("%Y-%m-%dT%H:%M:%SZ")', ".event_timestamp|todate", ".customer_id[0:3]", ".customer_id[-3:]", ".customer_id|length",
    )
] + [
    (OTHER, e) for e in (
        ".a[0]", ".a[-1]", ".a[9]", ".a|length", ".a|first", ".a|last", ".a[1:3]|add", "[.a[]|numbers]|max", "[.a[]|numbers]|sort|map(tostring)|join(\"_\")", ".b.c", ".b.d", ".b.e", ".b.f",
        ".b.g", ".b.h", ".b.c // \"none\"", ".b.zzz // .b.g", "(.t/1000|strftime(\"%Y-%m-%d\"))", ".t/1000|floor|todate", ".iso|fromdate", '.iso|strptime("%Y-%m-%dT%H:%M:%SZ")|mktime',
        ".s|ascii_downcase", ".s|ascii_upcase", '.s|gsub("[^A-Za-z0-9]";"_")', '.s|sub("-.*";"")', '.s|test("^user";"i")', '.s|capture("(?<n>[0-9]+)").n', '.s|split("-")[1]',
        '.s|ltrimstr("User-")', '.s|startswith("User")', '.s|@uri', '.s|@base64', '.j|fromjson|.k', ".b|keys[0]", ".b|has(\"c\")", ".n", ".n - 1", "-(.b.f)", ".b.f * 2 + 0.25", "1 / 3", "0.1 + 0.2", "1e-5", "100000",
        ".a|map(select(type==\"number\"))|add", ".a as [$x, $y] | $x - $y", ". as {b: {g: $g}} | $g", ".b.e and (.b.c == null)", ".b.e|not", "try error(\"x\") catch .", ".a.x?", ".b.f|fabs", ".b|to_entries[0].key",
        "any(.a[]; . == 2)", "all(.a[]; . == 2)", "[.a[]|strings][0]", "{x: .b.g}.x", "[.b.g, .b.f][1]", ".[\"b\"].g", ".\"s\"", ".b[\"g\"]", "(.b.f|tostring) + \"/\" + .b.g", ".b.f|floor", ".b.f|round", ".b.f > -2", ".a == [3,1,2,\"x\"]", "\"lit\"", "null", "error", ".t|tojson",
    )
]

for record, expression in EXPRESSIONS:
    run = subprocess.run(["jq", "-c", expression], input=record, capture_output=True, text=True)
    out = run.stdout.splitlines()
    text = "!"
    if run.returncode == 0 and len(out) == 1 and out[0][0] not in '[{n"' or out and out[0][0] == '"' and run.returncode == 0 and len(out) == 1 and out[0] != '""':
        text = json.loads(out[0]) if out[0][0] == '"' else out[0]
    print(expression, record, text, sep="\t")
