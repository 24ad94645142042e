"""Prints the ten slowest tests of a JUnit XML file, slowest first: seconds, test."""

import heapq
import sys
import xml.etree.ElementTree as ElementTree


def main(path):
    try:
        cases = ElementTree.parse(path).getroot().iter("testcase")
    except (OSError, ElementTree.ParseError) as error:
        sys.exit(f"{path}: no test results: {error}")
    for case in heapq.nlargest(10, cases, key=lambda case: float(case.get("time", 0))):
        print(f"{float(case.get('time', 0)):8.2f} s  {case.get('classname')}.{case.get('name')}")


if __name__ == "__main__":
    main(sys.argv[1])
