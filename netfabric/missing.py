"""What a kernel lacks, said by what it refused: the module and the option that bring it, and what would do instead. Pure.

Source: the Kconfig files of Linux' net/ and drivers/net/.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from netfabric.state import LinkKind

_LACKING: Final = frozenset({errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EAFNOSUPPORT})
"""What the kernel answers where a part of it is not there."""


@dataclass(frozen=True, slots=True)
class Part:
    module: str
    option: str
    instead: str = ""  # what serves as well

    def __str__(self) -> str:
        return f"this kernel lacks {self.module} (module {self.module}, {self.option})" + (f"; {self.instead}" if self.instead else "")


IPVS: Final = Part("ip_vs", "CONFIG_IP_VS", "nftables balances the same: --balancing nft, or auto")
PROTOCOLS: Final = {"sctp": Part("sctp", "CONFIG_IP_SCTP")}
LINKS: Final = {
    LinkKind.BRIDGE: Part("bridge", "CONFIG_BRIDGE"),
    LinkKind.VETH: Part("veth", "CONFIG_VETH"),
    LinkKind.VXLAN: Part("vxlan", "CONFIG_VXLAN"),
}


def explained(message: str, error: OSError, part: Part | None) -> str:
    """The message, with what is missing where the error says that something is."""
    return f"{message}: {part}" if part is not None and error.errno in _LACKING else message
