#!/usr/bin/env python3
"""Reads `go test -json` from standard input, prints what go test would, and judges the skips.

    go test -json ./... | .ci/gotest.py SKIPS TALLY

SKIPS lists the tests that may skip, "package test" a line, subtests included, # for comments. A skip that is not listed is a failure, and so
is a run without a test. Every skip is printed. Adds "passed failed skipped" to the file TALLY, and the end of what each
failed test printed to TALLY.failures.
"""

import json
import sys


def main():
    skips, tally = sys.argv[1:]
    with open(skips, encoding="utf-8") as f:
        allowed = {tuple(line.split("#")[0].split()) for line in f} - {()}
    output, passed, failed, skipped, packages_failed, told = {}, 0, [], [], [], []
    for line in sys.stdin:
        try:
            e = json.loads(line)
        except ValueError:
            print(line, end="", flush=True)
            continue
        package, test, action = e.get("Package", ""), e.get("Test"), e["Action"]
        if action in ("output", "build-output"):
            text = e.get("Output", "")
            if action == "build-output":
                print(text, end="", flush=True)
            elif test:
                output.setdefault((package, test), []).append(text)
            elif text.strip() not in ("PASS", "") and "no test files" not in text:
                print(text, end="", flush=True)  # ok / FAIL / panics
        elif test and action in ("pass", "fail", "skip"):
            text = output.pop((package, test), [])
            if action == "pass":
                passed += 1
            elif action == "skip":
                why = " ".join(t.strip() for t in text if not t.lstrip().startswith(("===", "---")))
                skipped.append((package, test, why))
            else:
                failed.append((package, test))
                print("".join(text), end="", flush=True)
                told.append(f"{package} {test}\n" + "".join(text)[-4000:])
        elif action == "fail":
            packages_failed.append(package)
            for (p, t), text in output.items():  # tests that never ended
                if p == package:
                    print("".join(text), end="", flush=True)
                    told.append(f"{p} {t}, which never ended\n" + "".join(text)[-4000:])
    unexpected = []
    print(f"\n{len(skipped)} tests skipped" + (":" if skipped else ""))
    for package, test, why in skipped:
        short = package.split("/", 3)[-1]
        ok = (short, test.split("/")[0]) in allowed or (short, "*") in allowed
        print(f"  {'skip' if ok else 'UNEXPECTED SKIP'}: {short} {test}: {why}")
        if not ok:
            unexpected.append(test)
    for package in packages_failed:  # one that panics or does not build may have no failed test
        if not any(p == package for p, _ in failed):
            failed.append((package, "(the package)"))
    for package, test in failed:
        print(f"  FAILED: {package.split('/', 3)[-1]} {test}")
    with open(tally, "a", encoding="utf-8") as f:
        print(passed, len(failed), len(skipped), file=f)
    with open(tally + ".failures", "a", encoding="utf-8") as f:
        f.writelines(told)
    if not passed and not skipped:
        print("no test ran")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped", flush=True)
    if failed or packages_failed or unexpected or not passed + len(skipped):
        sys.exit(1)


if __name__ == "__main__":
    main()
