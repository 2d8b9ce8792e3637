"""Bundles made ready to be played live on a processor."""

import dataclasses
from typing import Any

from bandmate.checkpoint import Bundle
from bandmate.codec.spectral import SpectralCodec
from bandmate.model.duet import Duet
from bandmate.nn.packed import can_pack, packed


def precision_of(plain: Bundle, played: Bundle) -> str:
    """What a bundle is played in, where ``played`` is what :func:`quick` made of ``plain``, or the same."""
    if played is plain:
        return "fp32"
    same = [part for part in ("model", "codec") if getattr(played, part) is getattr(plain, part)]
    return f"int8, {same[0]} fp32" if len(same) == 1 else "int8"


def quick(bundle: Bundle) -> Bundle:
    """The bundle with playing copies (:mod:`bandmate.nn.packed`) of what they were measured for: spectral and duet.

    Without any of these, or on a processor without the kernels, it is the same bundle.
    """
    copies: dict[str, Any] = {}
    if can_pack() and isinstance(bundle.codec, SpectralCodec):
        copies["codec"] = packed(bundle.codec)
    if can_pack() and isinstance(bundle.model, Duet):
        copies["model"] = packed(bundle.model)
    return dataclasses.replace(bundle, **copies) if copies else bundle
