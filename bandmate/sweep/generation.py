"""Clips of unseen songs through any model, many at a time: what ``bandmate generate`` does."""

import copy
import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bandmate.checkpoint import Bundle, sampling_for
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
Precision = Literal["fp32", "bf16"]
PIECE = 4  # clips that go through the codec at a time: what lies between its layers stays in the processor's cache


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """``clips`` clips played with ``spec`` (None: an offline model). ``seed`` is that of the sampling.

    null_input: the model hears nothing at all. shuffle_input: it hears another song, while the folder keeps the
    true one. like: take the clips of that folder instead of drawing them. precision: of the model's weights and caches
    while it plays; ears and codec are always in float32.
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
    precision: Precision = "fp32"


class Memory:
    """What a process keeps from one point of a sweep to the next: clips without their sound, and what is heard of them."""

    def __init__(self) -> None:
        self.key: Hashable = None
        self.clips: dict[str, tuple[Material, Tensor]] = {}

    def of(self, key: Hashable) -> dict[str, tuple[Material, Tensor]]:
        """What is known under that key; anything known under another is forgotten."""
        if key != self.key:
            self.key, self.clips = key, {}
        return self.clips


def generate_folder(
    bundle: Bundle,
    rendered: Path,
    out: Path,
    config: GenerationConfig,
    tell: Tell = lambda done, of: None,
    memory: Memory | None = None,
) -> ClipFolder:
    """Fills ``out`` with clips; those it holds already are not made again. Clip i is player i, whatever the batch.

    ``memory`` spares systems over the clips of one folder from cutting and hearing them again and again.
    Raises ValueError when the split, or the folder to be ``like``, holds fewer clips than wanted.
    """
    system = System(bundle, config)
    others = OtherSongs(rendered, config.places.split, config.places.seed)  # before anything is written
    folder = ClipFolder(out, system.settings)
    known = memory.of((rendered, *system.clips_key)) if memory and system.clips_key else None
    wanted = {f"{number:05d}" for number in range(config.clips)}
    done = sum(map(folder.is_done, wanted))
    tell(done, config.clips)
    waiting = clips_to_make(rendered, folder, others, config, known or {})
    while batch := list(itertools.islice(waiting, min(config.batch, config.clips - done))):
        heard = [listened_to(one, others, config) for one in batch]
        if known is None:
            x = system.hear([audio for audio, _ in heard])
        else:
            x = recall(system, batch, known)
        played = system.play(batch, x)
        rows = [
            save(folder, one, sound | {"heard": origin}, system)
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


def recall(system: "System", batch: Sequence[Material], known: dict[str, tuple[Material, Tensor]]) -> Tensor:
    """What the model hears of the clips [B, T, ...]; what is not known yet is heard to its end, and known from then on."""
    new = [one for one in batch if one.clip not in known]
    if new:
        heard = system.hear([one.mixture for one in new], whole=True)
        target = "target_codec" not in system.shared
        known |= {one.clip: (one.slim(target), x) for one, x in zip(new, heard.cpu(), strict=True)}
    x = torch.stack([known[one.clip][1] for one in batch])
    return x[:, : system.heard_frames].to(system.device)


def clips_to_make(
    rendered: Path,
    folder: ClipFolder,
    others: OtherSongs,
    config: GenerationConfig,
    known: dict[str, tuple[Material, Tensor]],
) -> Iterator[Material]:
    """The clips that the folder lacks, in order, those that are ``known`` first."""
    if config.like is None:
        refuse_other_songs(rendered, folder, config)
        for clip, track, place in material.todo(rendered, config.places, folder.rows, folder.is_done):
            yield material.make(clip, track, place, config.places, others)
        return
    theirs = {row["clip"]: row for row in read_rows(config.like)}
    ready = [clip for clip in sorted(theirs) if clip in known and not folder.is_done(clip)]
    yield from (known[clip][0] for clip in ready)
    waiting = material.todo(
        rendered, config.places, theirs, lambda clip: clip in known or folder.is_done(clip)
    )
    for clip, track, place in itertools.takewhile(lambda each: each[0] in theirs, waiting):
        yield material.like(config.like, theirs[clip], track, place, config.places)


def refuse_other_songs(rendered: Path, folder: ClipFolder, config: GenerationConfig) -> None:
    """ValueError when the first clip that is there, if any, was not cut from these tracks."""
    ready = next((clip for clip in sorted(folder.rows) if folder.is_done(clip)), None)
    if ready is not None:
        _, track, place = next(
            material.todo(rendered, config.places, folder.rows, lambda clip: clip != ready)
        )
        material.like(folder.path, folder.rows[ready], track, place, config.places)


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
    if not config.shuffle_input or one.track is None:
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
        self.player = self.model if config.precision == "fp32" else narrowed(self.model)
        sampling = sampling_for(bundle.card, config.spec.t_f_seconds if config.spec else None)
        self.sampling = sampling | (
            {"guidance": 0.0} if config.null_input else {}
        )  # 0: the null row alone, unrestricted
        self.offline = not hasattr(self.model, "play")
        self.spec = config.spec if config.spec and not self.offline else offline_spec(self.model, self.frames)
        self._check()
        self.settings = self._settings()
        self.shared = self._shared()

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
            "codec": fingerprint(self.codec),
            "precision": c.precision,
            "t_f": self.spec.t_f,
            "k": self.spec.k,
            "sampling": {n: list(v) if isinstance(v, tuple) else v for n, v in self.sampling.items()},
            "seed": c.seed,
            "null_input": c.null_input,
            "shuffle_input": c.shuffle_input,
        } | {f"clips_{name}": value for name, value in dataclasses.asdict(c.places).items()}

    def _shared(self) -> tuple[str, ...]:
        """The sounds that the folder to be like has already; target_codec if it was made with the same codec."""
        if self.config.like is None:
            return ()
        same = read_settings(self.config.like).get("codec") == self.settings["codec"]
        return (*SHARED, "target_codec") if same else SHARED

    @property
    def clips_key(self) -> tuple[Hashable, ...]:
        """Tells apart what is heard of the clips by this model and others; empty where it must not be kept."""
        if self.config.like is None or self.config.shuffle_input or self.offline:
            return ()
        return (
            self.config.like,
            self.config.places,
            repr(self.model.config),
            self.settings["codec"],
            self.shared,
        )

    @torch.inference_mode()
    def hear(self, audio: Sequence[NDArray[np.float32]], whole: bool = False) -> Tensor:
        """What the model hears of sounds [S'] each, as far as it may or to the end: [B, T, ...]."""
        samples = len(audio[0]) if whole else self.heard_frames * HOP
        sounds = torch.from_numpy(np.stack([one[:samples] for one in audio])).to(self.device)
        return in_pieces(self.codec.encode if self.offline else lambda part: hear(self.bundle, part), sounds)

    @torch.inference_mode()
    def play(self, batch: Sequence[Material], x: Tensor) -> list[dict[str, Any]]:
        """x [B, T, ...] -> prediction [S] float32 of each clip, and its target_codec unless that is shared."""
        players = tuple(int(one.clip) for one in batch)
        sampler = Sampler(seed=self.config.seed, players=players, **self.sampling)
        instruments = torch.tensor([one.instrument for one in batch], device=self.device)
        if self.offline:
            codes = self.player.generate(x, instruments, sampler, self.frames)
        else:
            codes = stream(self.player, x, self.spec, sampler, instruments, self.frames, self.codec.levels)
        played = in_pieces(self.codec.decode, codes).cpu().numpy()
        if "target_codec" in self.shared:
            return [{"prediction": sound} for sound in played]
        target = torch.from_numpy(np.stack([material.from_pcm(one.target) for one in batch])).to(self.device)
        coded = in_pieces(lambda part: self.codec.decode(self.codec.encode(part)), target).cpu().numpy()
        return [{"prediction": a, "target_codec": b} for a, b in zip(played, coded, strict=True)]


def in_pieces(function: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
    """function(batch [B, ...]), a few rows at a time."""
    return torch.cat([function(part) for part in batch.split(PIECE)])


def narrowed(model: Any) -> Any:
    """A copy in bfloat16, but for its ears: what is heard stays as it was in training."""
    narrow = copy.deepcopy(model).to(torch.bfloat16)
    if getattr(model, "mel_ears", None) is not None:
        narrow.mel_ears = model.mel_ears
    return narrow


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


def save(folder: ClipFolder, one: Material, made: dict[str, Any], system: System) -> Row:
    """Writes the sounds of a clip; returns its row."""
    told: Row = {"not_finite": 0, "clipped": 0}
    for name in (name for name in OWN if name in made):
        sound = made[name]
        if name == "prediction":
            told["not_finite"] = int(np.count_nonzero(~np.isfinite(sound)))
            sound = np.nan_to_num(sound, posinf=0.0, neginf=0.0)
            told["clipped"] = int(np.count_nonzero(np.abs(sound) > 1))
        folder.write(one.clip, name, material.to_pcm(sound))
    for name, sound in one.sounds.items():
        folder.write(one.clip, name, sound)
    if (like := system.config.like) is not None:
        for name in system.shared:
            folder.share(one.clip, name, like)
    kept = ("t_f", "k", "model", "seed", "sampling", "precision", "null_input", "shuffle_input")
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
