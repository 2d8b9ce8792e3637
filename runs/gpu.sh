#!/bin/sh
# A larger run of the same road on one GPU and 16 cores, meant for 30 minutes: render 4, codec 12, encode 1, duet 10.
# The stages and their order are those of cpu.sh; on a GPU it has not been run yet.
# usage: runs/gpu.sh [FOLDER]   (default: work/)
set -eu
cd "$(dirname "$0")/.."
. runs/common.sh
renditions=8 preset=gpu band_songs=1000
render_songs
render_band
train_codec
encode_songs
train_duet
make_bundle
