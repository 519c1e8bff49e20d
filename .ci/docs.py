#!/usr/bin/env python3
"""Checks the documents: every relative link leads somewhere, and every firehosed command in a shell block is one that the
program knows, with flags that it knows.

    .ci/docs.py FIREHOSED
"""

import functools
import os
import re
import subprocess
import sys

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
BLOCK = re.compile(r"^(?:```(?:sh|bash|console)\n(.*?)^```|((?:^(?: {4}|\t).*\n)+))", re.M | re.S)
COMMAND = re.compile(r"(?:^|[\s;&|(])(?:\./|go run \./cmd/)?firehosed ([a-z][^#|;&<>\n]*)", re.M)


def files():
    out = subprocess.run(["git", "ls-files", "*.md"], check=True, capture_output=True, text=True).stdout
    return out.split()


@functools.cache
def help_text(binary, *name):
    """Returns the help of a command, or None."""
    run = subprocess.run([binary, "help", *name], capture_output=True, text=True)
    return run.stdout if run.returncode == 0 and run.stdout.startswith("Usage: firehosed " + " ".join(name)) else None


def main():
    binary, bad, links, commands = sys.argv[1], [], 0, 0
    for path in files():
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for target in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)):
            links += 1
            if not re.match(r"[a-z]+:", target) and not os.path.exists(os.path.join(os.path.dirname(path), target)):
                bad.append(f"{path}: the link to {target} leads nowhere")
        for fenced, indented in BLOCK.findall(text):
            for line in COMMAND.findall(fenced or indented):
                words = line.split()
                if words[0] in ("help", "version"):
                    continue
                commands += 1
                text_of = help_text(binary, *words[:2]) or help_text(binary, words[0])
                if text_of is None:
                    bad.append(f"{path}: firehosed has no command {' '.join(words[:2])!r}")
                    continue
                for flag in (w.split("=")[0] for w in words if re.match(r"--?[a-z]", w)):
                    if not re.search(rf"(?<!\S)-?-?{re.escape(flag.lstrip('-'))}\b", text_of.partition("Flags:")[2]):
                        bad.append(f"{path}: firehosed {words[0]} has no flag {flag}")
    print("\n".join(bad + [f"{links} links, {commands} commands"]))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
