"""The units of systemd: pure text.

The stem, and with it every container, lives in a unit of its own, so that `systemctl restart festoond` and an upgrade kill none.
That unit has no main process that systemd would know of: stem and supervisor replace each other, and as long as any process of
theirs lives, the unit is active. Source: systemd.service(5), systemd.kill(5), systemd.resource-control(5) on Delegate=.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

NODE_UNIT = "festoond.service"
STEM_UNIT = "festoon-stem.service"
OPTIONS_FILE = "/etc/default/festoond"
DESCRIPTORS_MAX = 1_048_576
START_TIMEOUT_S = 300  # an emulated machine has taken 80 s of its processor
HALT_GRACE_S = 10
HALT_TIMEOUT_S = 180


@dataclass(frozen=True, slots=True)
class Installed:
    """`python` and `programs`: the interpreter, and the folder with festoon and festoond, as absolute paths without spaces."""

    python: Path
    programs: Path
    root: Path = Path("/var/lib/festoon")
    run: Path = Path("/run/festoon")


def units(installed: Installed) -> dict[str, str]:
    """Texts by the units' names."""
    return {NODE_UNIT: _node(installed), STEM_UNIT: _stem(installed)}


def _node(i: Installed) -> str:
    return f"""\
[Unit]
Description=Festoon: node of a swarm
Wants=network-online.target {STEM_UNIT}
After=network-online.target local-fs.target nftables.service firewalld.service {STEM_UNIT}

[Service]
Type=notify
EnvironmentFile=-{OPTIONS_FILE}
ExecStart={i.programs}/festoond --root {i.root} --run {i.run} --stem-unit {STEM_UNIT} $FESTOOND_OPTIONS
Restart=on-failure
RestartSec=1
TimeoutStartSec={START_TIMEOUT_S}
KillMode=process
LimitNOFILE={DESCRIPTORS_MAX}
LimitNPROC=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"""


def _stem(i: Installed) -> str:
    start = f"{i.python} -I -m runtime.stem --run {i.run} --state {i.root}/runtime"
    return f"""\
[Unit]
Description=Festoon: parent of the containers
After=local-fs.target

[Service]
Type=forking
GuessMainPID=no
ExecStart={start}
ExecReload={start}
ExecStop={i.programs}/festoon system halt --root {i.root} --run {i.run} --time {HALT_GRACE_S}
Delegate=yes
KillMode=control-group
TimeoutStartSec={START_TIMEOUT_S}
TimeoutStopSec={HALT_TIMEOUT_S}
OOMPolicy=continue
LimitNOFILE={DESCRIPTORS_MAX}
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
"""
