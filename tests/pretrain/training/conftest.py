from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import forget_accelerator
from tiny_runs import make_data


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen films of a moving square with tracks; not to be changed."""
    return make_data(tmp_path_factory.mktemp("films"))


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    forget_accelerator()
    yield
    forget_accelerator()
