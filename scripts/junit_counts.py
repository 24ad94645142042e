"""Prints "PASSED FAILED SKIPPED" of a JUnit XML file (ctest's or pytest's), counted case by case.

No file, no readable XML, or no case at all is an error: a suite that ran nothing did not pass.
"""

import sys
import xml.etree.ElementTree as ElementTree


def main(path):
    try:
        cases = list(ElementTree.parse(path).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        sys.exit(f"{path}: no test results: {error}")
    if not cases:
        sys.exit(f"{path}: no test ran")
    passed = failed = skipped = 0
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    print(passed, failed, skipped)


if __name__ == "__main__":
    main(sys.argv[1])
