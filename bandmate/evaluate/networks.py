"""Which network listens for which measure: published weights where they were fetched, bundled means otherwise."""

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bandmate import weights
from bandmate.evaluate.beat import librosa_beats

VGGISH = "VGGish"  # how the tables call it; the distance is then named FAD

Beats = Callable[[NDArray[np.floating], int], NDArray[np.floating]]  # audio [S], rate -> seconds [N]
Embed = Callable[[NDArray[np.floating], int], NDArray[np.floating]]  # audio [S], rate -> [N, D]


class Network(NamedTuple):
    """Something that listens: its name in the tables, a version that changes with its weights, the call.

    For embeddings also how long one of them hears and how far apart they begin, in seconds, and the shortest sound that
    has one; where nothing is told, what is short is filled up with silence.
    """

    name: str
    version: str
    call: Any
    span: float = 0.0
    step: float = 0.0
    least: float = 0.0

    def about(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version}


class Listener(NamedTuple):
    """One network per measure."""

    coherence: Network  # call: an object with features, embed, similarity
    beats: Network  # call: Beats
    embedding: Network  # call: Embed

    @property
    def versions(self) -> tuple[str, ...]:
        """In the order of bandmate.evaluate.features.KINDS after "sound"."""
        return tuple(network.version for network in self)


@dataclass(frozen=True)
class Choice:
    """What the user asks for: "auto", a name, or the path of an encoder trained by ``bandmate train coherence``."""

    coherence: str = "auto"
    beats: str = "auto"
    embedding: str = "auto"

    def __call__(self) -> Listener:
        """Loads the networks. ValueError or FileNotFoundError for weights that are absent or wrong."""
        return Listener(coherence(self.coherence), beats(self.beats), embedding(self.embedding))


def coherence(wanted: str) -> Network:
    """COCOLA by name or when it was fetched, else this project's encoder."""
    if wanted == "cocola" or (wanted == "auto" and weights.path_of("cocola").is_file()):
        from bandmate.perceive import cocola

        network = cocola.load()
        return Network("COCOLA", fingerprint(network), Published(network))
    return bundled(wanted)[0]


def beats(wanted: str) -> Network:
    """Beat This by name or when it was fetched, else librosa's tracker."""
    if wanted == "beat-this" or (wanted == "auto" and weights.path_of("beat-this").is_file()):
        from bandmate.perceive import beat_this

        network = beat_this.load()
        return Network(
            f"Beat This {beat_this.NAME}", fingerprint(network), partial(beat_this.beats, network=network)
        )
    return librosa_tracker()


def embedding(wanted: str) -> Network:
    """VGGish by name or when it was fetched, else this project's encoder."""
    if wanted == "vggish" or (wanted == "auto" and weights.path_of("vggish").is_file()):
        from bandmate.perceive import vggish

        network = vggish.load()
        call = partial(vggish.embeddings, network=network)
        return Network(VGGISH, fingerprint(network), call, span=0.96, step=0.96, least=vggish.SHORTEST)
    return bundled(wanted)[1]


class Published:
    """COCOLA with the front end that it was trained with."""

    def __init__(self, network: Any) -> None:
        from bandmate.perceive.hpss import harmonic_percussive

        self.features, self.embed, self.similarity = harmonic_percussive, network.embed, network.similarity


def bundled(wanted: str) -> tuple[Network, Network]:
    """The coherence encoder of this project, or the one at a path: for scores, and for embeddings."""
    from bandmate.perceive.coherence import load_encoder

    path = None if wanted in ("auto", "bundled") else Path(wanted)
    encoder = load_encoder(path)
    name = "bandmate's encoder" if path is None else f"encoder {path.name}"
    version = fingerprint(encoder)
    return (
        Network(name, version, encoder),
        Network(f"{name} (not VGGish)", version, encoder.embeddings, span=5.0, step=2.5),
    )


def librosa_tracker() -> Network:
    try:
        version = importlib.metadata.version("librosa")
    except importlib.metadata.PackageNotFoundError:
        raise ValueError(
            "librosa is not installed, and it tracks the beats: pip install 'bandmate[eval]', "
            "or bandmate models fetch beat-this"
        ) from None
    return Network(f"librosa {version}", f"librosa-{version}", librosa_beats)


def fingerprint(module: Any) -> str:
    """A short hash of a module's names and weights."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
