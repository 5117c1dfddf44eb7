import subprocess
import sys
from pathlib import Path

import pytest

from lab.cluster.errors import LocalError
from lab.cluster.sglang import PACKAGES_IN_CONTAINER, TRITON_IN_CONTAINER, WAY, release


@pytest.mark.parametrize("missing", ["sglang", "triton"])
def test_a_folder_without_the_package_is_named(tmp_path: Path, missing: str) -> None:
    for name in {"sglang", "triton"} - {missing}:
        (tmp_path / name).mkdir()
    with pytest.raises(LocalError, match=f"{tmp_path} has no package {missing}"):
        release(tmp_path, tmp_path)


def test_the_version_is_the_packages_own_word(tmp_path: Path) -> None:
    for name in ("sglang", "triton", "sglang-0.5.19.dist-info"):
        (tmp_path / name).mkdir()
    assert release(tmp_path, tmp_path).version == "0.5.19"


def test_its_own_packages_come_before_the_ones_it_shares_with_vllm(tmp_path: Path) -> None:
    (tmp_path / "sglang.pth").write_text(WAY)
    show = "import site, sys; site.addsitedir(sys.argv[1]); print(*sys.path[:2])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", show, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [PACKAGES_IN_CONTAINER, TRITON_IN_CONTAINER]
