#!/bin/sh
# The bundled checkpoint from the MIDI pack, on a CPU: hours on two cores. Stop it at any time; the same command goes on.
# usage: runs/cpu.sh [FOLDER]   (default: work/)
set -eu
cd "$(dirname "$0")/.."
. runs/common.sh
renditions=3 preset=cpu band_songs=300
render_songs
render_band
train_codec
encode_songs
train_duet
make_bundle
