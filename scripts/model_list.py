#!/usr/bin/env python3
"""Prints the list of models that the README has, or puts it there between its two marks.

    scripts/model_list.py           Markdown, of what $CAUSEWAY (else the release build) says in `mappings list --json`
    scripts/model_list.py write     the same, into README.md

Each line is the "about" of a table in mappings/tables (docs/mapping-tables.md).
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- model list: scripts/model_list.py -->\n", "<!-- end of the model list -->\n"


def markdown(tables):
    lines = ["| models | architectures | source dtypes | MTP | checked against |", "|---|---|---|---|---|"]
    for table in sorted(tables, key=lambda table: table["models"].lower()):
        architectures = ", ".join(f"`{name}`" for name in table["architectures"])
        checked = ", ".join(table["checked"]) or "bytes only"
        lines.append(f"| {table['models']} | {architectures} | {', '.join(table['dtypes'])} | {table['mtp']} | {checked} |")
    return "\n".join(lines) + "\n"


def main(arguments):
    causeway = os.environ.get("CAUSEWAY", ROOT / "build" / "release" / "bin" / "causeway")
    tables = json.loads(subprocess.run([causeway, "mappings", "list", "--json"], check=True, capture_output=True, text=True).stdout)
    if arguments == ["write"]:
        before, rest = README.read_text().split(BEGIN)
        _, after = rest.split(END)
        README.write_text(before + BEGIN + markdown(tables) + END + after)
    elif not arguments:
        print(markdown(tables), end="")
    else:
        sys.exit("usage: model_list.py [write]")


if __name__ == "__main__":
    main(sys.argv[1:])
