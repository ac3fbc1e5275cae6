"""`festoon swarm ca`: shows the root that the swarm trusts, or exchanges it and waits until every node uses the new one.

Waits on the daemon's stream of commits. Source: docker/cli's swarm/ca.go and swarm/progress/root_rotation.go.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from typing import Any, Final

from cli.api import Api
from cli.commands.swarm import NO_EXTERNAL_CA
from cli.convergence import Screen, next_change
from cli.failures import CliFailure
from cli.flags import DURATION, EXTERNAL_CA, FlagType, option, options, switch
from cli.progress import BAR_CELLS, Line
from cli.usage import command

NEEDS_ROTATE: Final = ("ca_cert", "ca_key", "cert_expiry", "external_ca")
ISSUED: Final = "  rotated TLS certificates"
TRUSTED: Final = "  rotated CA certificates"
INTERRUPTED: Final = "Operation continuing in background.\nUse `festoon swarm ca` to check progress."


def _pem_file(text: str) -> str:
    """What is in the file, which must be PEM."""
    try:
        with open(text) as file:
            contents = file.read()
    except OSError as e:
        raise ValueError(f"open {text}: {(e.strerror or str(e)).lower()}") from e
    except UnicodeDecodeError as e:
        raise ValueError("file contents must be in PEM format") from e
    if "-----BEGIN " not in contents:
        raise ValueError("file contents must be in PEM format")
    return contents


PEM_FILE: Final = FlagType("pem-file", _pem_file)


@command("ca", summary="Display and rotate the root CA")
@option("--ca-cert", help="Path to the PEM-formatted root CA certificate to use for the new cluster", type=PEM_FILE, default="")
@option("--ca-key", help="Path to the PEM-formatted root CA key to use for the new cluster", type=PEM_FILE, default="")
@option("--cert-expiry", help="Validity period for node certificates (ns|us|ms|s|m|h) (default 2160h0m0s)", type=DURATION)
@switch("--detach", "-d", help="Exit immediately instead of waiting for the root rotation to converge")
@options("--external-ca", help="Specifications of one or more certificate signing endpoints", type=EXTERNAL_CA)
@switch("--quiet", "-q", help="Suppress progress output")
@switch("--rotate", help="Rotate the swarm CA - if no certificate or key are provided, new ones will be generated")
def ca(api: Api, arguments: tuple[str, ...], **flags: Any) -> int:
    found = api.get("/swarm")
    if not flags["rotate"]:
        for name in NEEDS_ROTATE:
            if flags[name]:
                raise CliFailure(f"`--{name.replace('_', '-')}` flag requires the `--rotate` flag to update the CA")
        _show_root(found)
        return 0
    if flags["external_ca"]:
        raise CliFailure(NO_EXTERNAL_CA)
    if flags["ca_cert"] and not flags["ca_key"]:
        raise CliFailure("the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag be provided as well")
    spec = found["Spec"]
    _ask_rotation(spec, flags["ca_cert"], flags["ca_key"], flags["cert_expiry"])
    if flags["detach"]:
        api.post("/swarm/update", spec, version=found["Version"]["Index"])
        return 0
    screen = None if flags["quiet"] else Screen(sys.stdout)
    with api.stream("GET", "/festoon/watch", kinds="cluster,node") as changes:
        next_change(changes, None)  # the stream's first line: nothing is missed from here on
        api.post("/swarm/update", spec, version=found["Version"]["Index"])
        if screen is not None:
            screen.draw([Line("desired root digest", ""), *(Line(name, f"{name}: ") for name in (ISSUED, TRUSTED))])
        try:
            while not _rotated(api, screen):
                next_change(changes, None)
        except KeyboardInterrupt:
            if screen is not None:
                print(INTERRUPTED, file=sys.stderr)
            return 0
    if screen is not None:
        _show_root(api.get("/swarm"))
    return 0


def _ask_rotation(spec: dict[str, Any], certificate: str, key: str, expiry_ns: int | None) -> None:
    wanted = spec.setdefault("CAConfig", {})
    if expiry_ns is not None:
        wanted["NodeCertExpiry"] = expiry_ns
    wanted |= {"SigningCACert": certificate, "SigningCAKey": key}
    if not certificate and not key:
        wanted["ForceRotate"] = wanted.get("ForceRotate", 0) + 1


def _rotated(api: Api, screen: Screen | None) -> bool:
    """Whether all nodes use the new root; draws how many do."""
    swarm, nodes = api.get("/swarm"), api.get("/nodes") or []
    wanted = swarm["TLSInfo"]
    used = [(node.get("Description") or {}).get("TLSInfo") or {} for node in nodes]
    issued = sum(all(tls.get(key) == wanted.get(key) for key in ("CertIssuerPublicKey", "CertIssuerSubject")) for tls in used)
    waiting = issued < len(nodes) or swarm["RootRotationInProgress"]
    trusting = 0 if waiting else sum(tls.get("TrustRoot") == wanted.get("TrustRoot") for tls in used)
    if screen is not None:
        digest = f"sha256:{sha256(wanted['TrustRoot'].encode()).hexdigest()}"
        screen.draw([
            Line("desired root digest", digest),
            _bar(ISSUED, issued, len(nodes)),
            _bar(TRUSTED, trusting, len(nodes)),
        ])  # fmt: skip
    return not waiting and trusting == len(nodes)


def _bar(name: str, done: int, of: int) -> Line:
    return Line(name, f"{done}/{of} nodes", BAR_CELLS * done // max(of, 1))


def _show_root(swarm: dict[str, Any]) -> None:
    root = (swarm.get("TLSInfo") or {}).get("TrustRoot", "")
    if not root:
        raise CliFailure("no CA information available")
    print(root.strip())
