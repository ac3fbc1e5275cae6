"""What a kernel lacks is named, with what brings it and what would do instead."""

from __future__ import annotations

import errno

from netfabric.errors import BackendUnavailable
from netfabric.missing import LINKS, explained
from netfabric.ports import refusal
from netfabric.state import HeldPort, LinkKind


def test_a_link_of_a_kind_that_the_kernel_does_not_know() -> None:
    vxlan = LINKS[LinkKind.VXLAN]
    lacking = explained("make vxlan0: Operation not supported", OSError(errno.EOPNOTSUPP, ""), vxlan)
    assert lacking == "make vxlan0: Operation not supported: this kernel lacks vxlan (module vxlan, CONFIG_VXLAN)"
    assert explained("make vxlan0: File exists", OSError(errno.EEXIST, ""), vxlan) == "make vxlan0: File exists"


def test_a_protocol_that_the_kernel_does_not_speak() -> None:
    said = refusal(HeldPort("sctp", 90), OSError(errno.EPROTONOSUPPORT, "Protocol not supported"))
    assert said == "listen sctp4 0.0.0.0:90: bind: protocol not supported: this kernel lacks sctp (module sctp, CONFIG_IP_SCTP)"
    assert refusal(HeldPort("sctp", 90), OSError(errno.EADDRINUSE, "Address already in use")).endswith("bind: address already in use")


def test_a_balancer_that_is_not_there_has_another_in_its_place() -> None:
    assert str(BackendUnavailable("find IPVS: No such file or directory")) == (
        "node: IPVS is not available: find IPVS: No such file or directory: this kernel lacks ip_vs (module ip_vs, CONFIG_IP_VS); "
        "nftables balances the same: --balancing nft, or auto"
    )
