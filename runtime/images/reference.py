"""The grammar of names, which is the cluster's: cluster/model/reference.py."""

from cluster.model.reference import (
    DEFAULT_DOMAIN,
    DEFAULT_TAG,
    LEGACY_DOMAIN,
    InvalidReference,
    Reference,
    familiar,
    id_prefix,
    parse,
)

__all__ = ["DEFAULT_DOMAIN", "DEFAULT_TAG", "LEGACY_DOMAIN", "InvalidReference", "Reference", "familiar", "id_prefix", "parse"]
