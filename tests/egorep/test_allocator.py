"""Memory that is kept is not asked for again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Pages that the system has to give and to clear for a block of 64 MiB that was freed a moment ago.
_FAULTS = """
import resource
from egorep.allocator import keep_freed_memory
{first}
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (64 << 20)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(found)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone can be told so")
def test_a_freed_block_is_used_again_without_the_system_clearing_its_pages():
    given_back, kept = (_faults(first) for first in ("", "keep_freed_memory()"))
    assert given_back > 1000
    assert kept < 100


def test_other_c_libraries_are_left_alone(monkeypatch):
    from egorep import allocator

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("its malloc is not glibc's"))
    allocator.keep_freed_memory()


def _faults(first: str) -> int:
    code = _FAULTS.format(first=first)
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
