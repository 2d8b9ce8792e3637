"""Clips of unseen songs through any model, many at a time: what ``bandmate generate`` does."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bandmate.checkpoint import Bundle
from bandmate.generate import frames_needed
from bandmate.model.sampling import Sampler
from bandmate.spec import StreamSpec
from bandmate.sweep import material
from bandmate.sweep.clip_folder import FORMAT, OWN, SHARED, ClipFolder, Row, read_rows, read_settings
from bandmate.sweep.clips import HOP
from bandmate.sweep.material import Material, PlacesConfig
from bandmate.sweep.music import hear
from bandmate.sweep.pairing import OtherSongs, Stranger

Tell = Callable[[int, int], None]  # clips done, clips wanted


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """``clips`` clips played with ``spec`` (None: an offline model). ``seed`` is that of the sampling.

    null_input: the model hears nothing at all. shuffle_input: it hears another song, while the folder keeps the
    true one. like: take the clips of that folder instead of drawing them.
    """

    places: PlacesConfig
    clips: int = 256
    spec: StreamSpec | None = None
    seed: int = 0
    batch: int = 32
    device: str = "cpu"
    null_input: bool = False
    shuffle_input: bool = False
    like: Path | None = None


def generate_folder(
    bundle: Bundle, rendered: Path, out: Path, config: GenerationConfig, tell: Tell = lambda done, of: None
) -> ClipFolder:
    """Fills ``out`` with clips; those it holds already are not made again. Clip i is player i, whatever the batch.

    Raises ValueError when the split, or the folder to be ``like``, holds fewer clips than wanted.
    """
    system = System(bundle, config)
    folder = ClipFolder(out, system.settings)
    others = OtherSongs(rendered, config.places.split, config.places.seed)
    wanted = {f"{number:05d}" for number in range(config.clips)}
    done = sum(map(folder.is_done, wanted))
    tell(done, config.clips)
    waiting = clips_to_make(rendered, folder, others, config)
    while batch := list(itertools.islice(waiting, min(config.batch, config.clips - done))):
        heard = [listened_to(one, others, config) for one in batch]
        played = system.play(batch, [audio for audio, _ in heard])
        rows = [
            save(folder, one, sound | {"heard": origin}, system, config.like)
            for one, sound, (_, origin) in zip(batch, played, heard, strict=True)
        ]
        folder.add(rows)
        done += len(batch)
        tell(done, config.clips)
    if done < config.clips:
        source = config.like or f"the split {config.places.split!r} of {rendered}"
        raise ValueError(
            f"{source} gives {done} clips of this length only: ask for so many with --clips {done}"
        )
    return folder


def clips_to_make(
    rendered: Path, folder: ClipFolder, others: OtherSongs, config: GenerationConfig
) -> Iterator[Material]:
    """The clips that the folder lacks, in order."""
    if config.like is None:
        for clip, track, place in material.todo(rendered, config.places, folder.rows, folder.is_done):
            yield material.make(clip, track, place, config.places, others)
        return
    theirs = {row["clip"]: row for row in read_rows(config.like)}
    waiting = material.todo(rendered, config.places, theirs, folder.is_done)
    for clip, track, place in itertools.takewhile(lambda each: each[0] in theirs, waiting):
        yield material.like(config.like, theirs[clip], track, place, config.places)


def places_like(folder: Path) -> PlacesConfig:
    """How the clips of a folder were drawn. FileNotFoundError or ValueError when it is none of ours."""
    settings = read_settings(folder)
    fields: dict[str, Any] = {
        f.name: settings.get(f"clips_{f.name}") for f in dataclasses.fields(PlacesConfig)
    }
    return PlacesConfig(**fields)


def listened_to(
    one: Material, others: OtherSongs, config: GenerationConfig
) -> tuple[NDArray[np.float32], dict[str, Any] | None]:
    """What the model hears [S'] and, where that is another song, which."""
    if not config.shuffle_input:
        return one.mixture, None
    stranger: Stranger = others.mixture(one.track, one.place, config.places.post, config.places.most)
    gain = material.amplitude(one.row["gain_db"])
    return stranger.audio * gain, {"song": stranger.song, "track": stranger.track, "start": stranger.start}


class System:
    """A bundle on a device, set to play in one way."""

    def __init__(self, bundle: Bundle, config: GenerationConfig) -> None:
        self.config, self.frames = config, config.places.frames
        self.device = find_device(config.device)
        self.codec, self.model = bundle.codec.to(self.device), bundle.model.to(self.device)
        self.bundle = dataclasses.replace(bundle, codec=self.codec, model=self.model)
        sampling: dict[str, Any] = {
            n: tuple(v) if isinstance(v, list) else v for n, v in bundle.card["sampling"].items()
        }
        self.sampling = sampling | ({"guidance": 0.0} if config.null_input else {})  # 0: the null row alone
        self.offline = not hasattr(self.model, "play")
        self.spec = config.spec if config.spec and not self.offline else offline_spec(self.model, self.frames)
        self._check()
        self.settings = self._settings()

    def _check(self) -> None:
        if self.offline == (self.config.spec is not None):
            raise ValueError(
                "an offline model hears the whole clip: leave out t_f and k"
                if self.offline
                else "a streaming model needs t_f and k"
            )
        short = self.heard_frames - self.frames - self.config.places.post
        if short > 0:
            raise ValueError(
                f"with t_f = {self.spec.t_f_seconds:g} s the model hears {short / 50:g} s more than the clips hold: "
                f"give --post {(self.config.places.post + short) / 50:g}"
            )

    @property
    def heard_frames(self) -> int:
        return (
            self.frames
            if self.offline
            else max(1, frames_needed(self.spec, self.frames, levels=self.codec.levels))
        )

    def _settings(self) -> Row:
        """All that the folder's content depends on, but for how many clips it is to hold."""
        c = self.config
        return {
            "format": FORMAT,
            "model": self.bundle.name,
            "weights": fingerprint(self.codec, self.model),
            "t_f": self.spec.t_f,
            "k": self.spec.k,
            "sampling": {n: list(v) if isinstance(v, tuple) else v for n, v in self.sampling.items()},
            "seed": c.seed,
            "null_input": c.null_input,
            "shuffle_input": c.shuffle_input,
        } | {f"clips_{name}": value for name, value in dataclasses.asdict(c.places).items()}

    @torch.inference_mode()
    def play(self, batch: Sequence[Material], heard: Sequence[NDArray[np.float32]]) -> list[dict[str, Any]]:
        """prediction and target_codec [S] float32 of each clip."""
        samples = self.heard_frames * HOP
        audio = torch.from_numpy(np.stack([one[:samples] for one in heard])).to(self.device)
        players = tuple(int(one.clip) for one in batch)
        sampler = Sampler(seed=self.config.seed, players=players, **self.sampling)
        instruments = torch.tensor([one.instrument for one in batch], device=self.device)
        if self.offline:
            codes = self.model.generate(self.codec.encode(audio), instruments, sampler, self.frames)
        else:
            x = hear(self.bundle, audio)
            codes = stream(self.model, x, self.spec, sampler, instruments, self.frames, self.codec.levels)
        target = torch.from_numpy(np.stack([material.from_pcm(one.target) for one in batch])).to(self.device)
        sounds = (
            self.codec.decode(codes).cpu().numpy(),
            self.codec.decode(self.codec.encode(target)).cpu().numpy(),
        )
        return [{"prediction": a, "target_codec": b} for a, b in zip(*sounds, strict=True)]


def stream(
    model: Any, x: Tensor, spec: StreamSpec, sampler: Sampler, instruments: Tensor, n_frames: int, levels: int
) -> Tensor:
    """:func:`bandmate.generate.generate`, but what arrived between two calls is listened to at once."""
    state = model.init_state(instruments, spec, len(x), guided=sampler.guided)
    codes, heard, columns = [], 0, n_frames + levels - 1
    for column in range(0, columns, spec.k):
        horizon = min(column + spec.t_f, x.shape[1])
        if horizon > heard:
            state = model.listen(x[:, heard:horizon], state)
            heard = horizon
        emitted, state = model.play(state, min(spec.k, columns - column), sampler)
        codes.append(emitted)
    return torch.cat(codes, dim=2)


def offline_spec(model: Any, frames: int) -> StreamSpec:
    """Where an offline model stands in the plane (paper 3.5): t_f = T, and k = 1 or T."""
    return model.spec(frames) if hasattr(model, "spec") else StreamSpec.offline(frames)


def save(folder: ClipFolder, one: Material, made: dict[str, Any], system: System, like: Path | None) -> Row:
    """Writes the sounds of a clip; returns its row."""
    told: Row = {"not_finite": 0, "clipped": 0}
    for name in OWN:
        sound = made[name]
        if name == "prediction":
            told["not_finite"] = int(np.count_nonzero(~np.isfinite(sound)))
            sound = np.nan_to_num(sound, posinf=0.0, neginf=0.0)
            told["clipped"] = int(np.count_nonzero(np.abs(sound) > 1))
        folder.write(one.clip, name, material.to_pcm(sound))
    for name in SHARED:
        if like is None:
            folder.write(one.clip, name, one.sounds[name])
        else:
            folder.share(one.clip, name, like)
    kept = ("t_f", "k", "model", "seed", "sampling", "null_input", "shuffle_input")
    return one.row | {name: system.settings[name] for name in kept} | {"heard": made["heard"]} | told


def fingerprint(*modules: nn.Module) -> str:
    """A short hash of all weights."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def find_device(name: str) -> torch.device:
    """ValueError for one that torch does not know or that is not there."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(
            f"there is no device {name!r} here that torch can use; --device cpu always works"
        ) from None
    return device
