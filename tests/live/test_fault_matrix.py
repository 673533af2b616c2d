"""The list of faults names tests that exist."""

import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))


def test_each_fault_has_its_tests():
    with open(os.path.join(HERE, "faults", "MATRIX.md"), encoding="utf-8") as text:
        rows = re.findall(r"^\| (\d+) \| (.*) \| (.*) \|$", text.read(), re.MULTILINE)
    assert [int(number) for number, _fault, _tests in rows] == list(range(1, 34))
    for number, _fault, tests in rows:
        named = re.findall(r"`(\S+\.py)::(\w+)`", tests)
        assert named, f"row {number} has no test"
        for file, name in named:
            with open(os.path.join(HERE, file), encoding="utf-8") as source:
                assert re.search(rf"^def {name}\(", source.read(), re.MULTILINE), f"row {number}: {file} has no {name}"
