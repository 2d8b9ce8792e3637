# The stages of a run; each is skipped or resumed when its output is there. Sourced by the scripts beside it.
work=${1:-work}
seconds=40
bandmate=${BANDMATE:-.venv/bin/bandmate}
[ -x "$bandmate" ] || bandmate=bandmate

render_songs() {
    "$bandmate" prepare midi --out "$work/rendered" --renditions "$renditions" --seconds "$seconds" ${songs:+--data "$songs"}
}

# Generated band music beside the songs that people wrote: see docs/data.md.
render_band() {
    "$bandmate" prepare band --out "$work/band" --songs "$band_songs"
    "$bandmate" prepare midi --data "$work/band" --out "$work/rendered" --renditions 1 --seconds "$seconds"
}

train_codec() {
    "$bandmate" train codec --data "$work/rendered/train" --out "$work/codec" --preset "$preset" --resume
}

encode_songs() {
    "$bandmate" prepare store --data "$work/rendered" --codec "$work/codec" --out "$work/prepared"
}

train_duet() {
    "$bandmate" train lm --data "$work/prepared" --out "$work/duet" --preset "$preset" --resume
}

make_bundle() {
    "$bandmate" train bundle --codec "$work/codec" --lm "$work/duet" --out "$work/bundle"
    echo "listen: $bandmate stream bandmate/assets/demo/demo.flac -o out.wav --model $work/bundle"
}
