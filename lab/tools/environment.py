"""
The checkout's environment, ``.venv``: the packages of ``requirements.lock`` and this checkout, importable.

    python3 -m lab.tools.environment

The packages are installed once for each lock and Python, into the cache; ``.venv`` itself has no package, only the way
to them, so that every checkout has its own in a second. Nothing but the standard library is needed.
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

from lab.tools import build
from lab.tools.progress import say
from lab.tools.table import Build, ToolError

CHECKOUT = Path(__file__).resolve().parents[2]
# Not the packages' own: each environment has its own interpreter, and pip runs as a module.
LEFT_OUT = ("python", "activate", "Activate", "pip")
SCRIPT = """#!{python}
import sys
from {module} import {function}
sys.exit({function}())
"""


def packages() -> Build:
    """What the lock asks for, installed for this Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    recipe = {"python": version, "listed": "../../requirements.lock", "check": "import ansible, pulumi_aws, pydantic"}
    return Build("kit-python", "venv", version, takes_s=60, disk_gib=1.5, recipe=recipe)


def make(folder: Path) -> None:
    """Make *folder* anew. ToolError if the packages cannot be had."""
    whole = build.make(packages(), lambda: Path())
    venv.EnvBuilder(clear=True, symlinks=True).create(folder)
    found_in = Path(sysconfig.get_path("purelib", "venv", {"base": str(whole)}))
    own = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    (own / "kit.pth").write_text(f"{found_in}\n{CHECKOUT}\n")
    (folder / "packages").symlink_to(whole)  # by which make sees that they are still there
    for program in (whole / "bin").iterdir():
        if not program.name.startswith(LEFT_OUT):
            (folder / "bin" / program.name).symlink_to(program)
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    for name, calls in scripts.items():
        module, _, function = calls.partition(":")
        script = folder / "bin" / name
        script.write_text(SCRIPT.format(python=folder / "bin/python", module=module, function=function))
        script.chmod(0o755)


if __name__ == "__main__":
    try:
        make(CHECKOUT / ".venv")
    except ToolError as error:
        say(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
