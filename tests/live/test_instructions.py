"""A row must not cost more instructions than were recorded; see contrib/bench/instructions.py."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "bench"))

from instructions import GROWTH, instructions_a_row, is_known_machine, recorded  # noqa: E402


@pytest.mark.skipif(not is_known_machine(), reason="recorded on x86_64; other CPUs have other instructions")
def test_a_row_takes_no_more_instructions_than_recorded(release, redis_server, db, directory):
    found, before = instructions_a_row(release.path("src/sluice"), redis_server, db, directory), recorded()[db.driver]
    print(f"{found:.0f} instructions a row, {found / before:.3f} of the recorded {before:.0f}")
    assert found <= GROWTH * before, f"{found:.0f} instructions a row, {before:.0f} were recorded"
    assert found > before / 3, f"{found:.0f} instructions a row: not all that is ours was counted"
