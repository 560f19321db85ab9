from __future__ import annotations

import subprocess
import sys

import pytest

import egorep
from egorep import names


def test_nearest_is_best_first_and_ignores_case() -> None:
    assert names.nearest("RESNET-18", ["resnet34", "resnet18", "vit"])[0] == "resnet18"
    assert names.nearest("zzz", ["resnet18"]) == []


def test_unknown_names_the_nearest_or_else_all() -> None:
    assert "did you mean 'drawer-open'" in str(names.unknown("task", "draweropen", ["drawer-open", "hammer"]))
    assert "choose from 'drawer-open', 'hammer'" in str(names.unknown("task", "x", ["hammer", "drawer-open"]))


@pytest.mark.parametrize("module", ["egorep", "egorep.names", "egorep.cache"])
def test_light_modules_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_listed_and_resolve() -> None:
    code = "import sys, egorep; egorep.load_encoder; sys.exit('torch' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(egorep.__all__) <= set(dir(egorep))
    for name in egorep.__all__:
        assert getattr(egorep, name) is not None
    with pytest.raises(AttributeError, match="no_such_thing"):
        egorep.no_such_thing  # noqa: B018
