"""What a mapping table states, section by section, whatever the order and spelling of its text: for comparing tables.

As a program: writes tables_expanded.json.xz, the statement of every built-in table, from `mappings show --full` of $CAUSEWAY.
Whoever changes what a table states on purpose runs it and reads the difference.
"""
import json
import lzma
import os
import pathlib
import re
import subprocess

FROZEN = pathlib.Path(__file__).parent / "tables_expanded.json.xz"
OPTIONS_AT = {"rows": 3, "drop": 2, "extra_state": 1}
HEAD = ("architectures", "model_types")


def read_jsonc(text):
    return json.loads(re.sub(r'("(?:[^"\\]|\\.)*")|//[^\n]*', lambda match: match[1] or "", text))


def element(section, value):
    """An element of a list with one spelling of what may be left out or be a list of one."""
    if section not in OPTIONS_AT:
        return value
    at = OPTIONS_AT[section]
    value = [value] if isinstance(value, str) else list(value)
    options = dict(value[at]) if len(value) > at else {}
    if isinstance(options.get("family"), str):
        options["family"] = [options["family"]]
    if section == "rows" and isinstance(value[2], str):
        value[2] = [value[2]]
    return value[:at] + [options]


def statement(table):
    """{section: sorted lines}; the order counts in lists of what is tried in turn, as dialects are."""
    lines = {}
    for section, value in table.items():
        if isinstance(value, dict):
            lines[section] = sorted(json.dumps([name, member], sort_keys=True) for name, member in value.items())
        elif isinstance(value, list) and section not in HEAD:
            lines[section] = [json.dumps(element(section, each), sort_keys=True) for each in value]
            if section not in ("dialects", "megatron_config_when"):
                lines[section].sort()
        else:
            lines[section] = [json.dumps(value)]
    return lines


def frozen():
    return json.loads(lzma.decompress(FROZEN.read_bytes()))


def freeze(tables):
    text = json.dumps({name: statement(table) for name, table in sorted(tables.items())}, indent=0)
    FROZEN.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))


def main():
    causeway = os.environ["CAUSEWAY"]
    listed = subprocess.run([causeway, "mappings", "list", "--json"], check=True, capture_output=True, text=True).stdout
    names = [table["table"].removesuffix(".jsonc") for table in json.loads(listed)]
    freeze({name: read_jsonc(subprocess.run([causeway, "mappings", "show", name, "--full"], check=True, capture_output=True, text=True).stdout)
            for name in names})


if __name__ == "__main__":
    main()
