"""What puts Festoon on real machines, as far as can be said without one: cloud-init's own schema, and one list of packages in all of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

VM = Path(__file__).parents[2] / "vm"
USER_DATA = sorted((VM / "cloud-init").glob("*.yaml"))


@pytest.mark.parametrize("file", USER_DATA, ids=lambda file: file.name)
def test_user_data_passes_cloud_inits_own_schema(file: Path) -> None:
    if shutil.which("cloud-init") is None:
        pytest.skip("needs cloud-init (Debian's package)")
    done = subprocess.run(["cloud-init", "schema", "--config-file", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Valid" in done.stdout


@pytest.mark.parametrize("file", USER_DATA, ids=lambda file: file.name)
def test_user_data_installs_what_install_sh_would(file: Path) -> None:
    script = (VM / "install.sh").read_text()
    needed = set(re.findall(r"\bneed ([a-z0-9-]+)", script)) | {"ca-certificates"}
    assert needed <= set(yaml.safe_load(file.read_text())["packages"])


def test_install_sh_is_read_by_debians_and_ubuntus_shell() -> None:
    if shutil.which("dash") is None:
        pytest.skip("needs dash")
    subprocess.run(["dash", "-n", str(VM / "install.sh")], check=True)
