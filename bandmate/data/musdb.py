"""MUSDB18-HQ: <root>/{train,test}/<artist> - <title>/{drums,bass,other,vocals}.wav, 44.1 kHz stereo.

`mixture.wav` is not read: a mix is the sum of the stems. The 14 songs of train that the data set's authors set aside
for validation are `valid`. "other" is whatever else plays: its class is Unknown.
"""

from pathlib import Path

from bandmate.data.stem_files import Listing, StemFiles, TrackFiles, folder, numbered, slug
from bandmate.instruments import BASS, PERCUSSIVE, UNKNOWN, VOCAL

STEMS = {"drums": PERCUSSIVE, "bass": BASS, "other": UNKNOWN, "vocals": VOCAL}
# As in the configuration of the authors' own reader, sigsep-mus-db.
VALIDATION = frozenset({
    "Actions - One Minute Smile", "Clara Berry And Wooldog - Waltz For My Victims", "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave", "Triviul - Angelsaint", "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants", "Leaf - Summerghost", "Skelpolu - Human Mistakes", "Young Griffo - Pennies",
    "ANiMAL - Rockshow", "James May - On The Line", "Meaxic - Take A Step", "Traffic Experiment - Sirens",
})  # fmt: skip


def read(root: Path) -> Listing:
    """All songs. FileNotFoundError when there are none, ValueError for the compressed MUSDB18."""
    places = [
        (split, path) for split in ("train", "test") for path in sorted((folder(root) / split).glob("*"))
    ]
    songs = [(split, path) for split, path in places if path.is_dir()]
    if not songs and any(path.name.endswith(".stem.mp4") for _, path in places):
        raise ValueError(
            f"{root} is the compressed MUSDB18 (.stem.mp4): get MUSDB18-HQ, which holds WAV files"
        )
    if not songs:
        raise FileNotFoundError(f"{root} holds no songs: give the folder of MUSDB18-HQ with train/ and test/")
    tracks, left_out = [], {}
    for split, path in songs:
        try:
            tracks.append(track(path, "valid" if path.name in VALIDATION else split))
        except ValueError as error:
            left_out[slug(path.name)] = str(error)
    return Listing(numbered(tracks), left_out)


def track(path: Path, split: str) -> TrackFiles:
    """One song. Songs of one artist make a cluster. ValueError when it has no stem."""
    files = {name: path / f"{name}.wav" for name in STEMS}
    stems = tuple(StemFiles(name, STEMS[name], (file,)) for name, file in files.items() if file.is_file())
    if not stems:
        raise ValueError(f"{path} holds none of {', '.join(f'{name}.wav' for name in STEMS)}")
    left_out = tuple(f"{file} is missing" for file in files.values() if not file.is_file())
    artist = path.name.partition(" - ")[0]
    return TrackFiles(slug(path.name), slug(path.name), slug(artist), split, stems, left_out)
