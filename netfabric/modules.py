"""The kernel's modules that a fabric needs, loaded when it opens.

The kernel would load them by itself, one by one, while a request of ours waits in a system call: on a slow machine a node would hear nothing for
seconds, in the middle of its first session. Never decides what the kernel can do: what is missing is told by the request that needs it.
Source: modprobe(8), /proc/modules in proc(5).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import trio

NEEDED: Final = (
    "bridge", "veth", "vxlan", "nf_conntrack_netlink",
    "nf_tables", "nft_chain_nat", "nft_ct", "nft_nat", "nft_masq", "nft_redir", "nft_fib_ipv4", "nft_numgen", "nft_hash", "nft_limit", "nft_reject_ipv4",
    "ip_vs", "ip_vs_rr", "ip_vs_sh",
)  # fmt: skip
LOADED: Final = Path("/proc/modules")
MODULES: Final = Path("/lib/modules")
TIMEOUT_S: Final = 60.0


async def load() -> None:
    """Those that are not there yet; what can't be loaded is passed over. Nothing happens where modprobe or this kernel's modules are not installed."""
    if not (MODULES / os.uname().release).is_dir() or not shutil.which("modprobe"):
        return
    there = {line.partition(" ")[0] for line in LOADED.read_text().splitlines()} if LOADED.exists() else set()
    missing = [name for name in NEEDED if name not in there]
    if missing:
        with trio.move_on_after(TIMEOUT_S):
            await trio.run_process(["modprobe", "--all", "--quiet", "--use-blacklist", *missing], check=False, capture_stdout=True, capture_stderr=True)
