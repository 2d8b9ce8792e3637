import pytest

from bandmate.instruments import INSTRUMENTS, UNKNOWN, VOCAL, from_program, lookup


def test_eighteen_distinct_classes() -> None:
    assert len(INSTRUMENTS) == len(set(INSTRUMENTS)) == 18
    assert INSTRUMENTS[UNKNOWN] == "Unknown"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (0, "Piano"),
        (13, "Chromatic Percussion"),
        (30, "Guitar"),
        (33, "Bass"),
        (47, "Strings"),
        (48, "Ensemble"),
        (52, "Vocal"),
        (54, "Vocal"),
        (55, "Ensemble"),
        (56, "Brass"),
        (81, "Synth Lead"),
        (98, "Synth Effects"),
        (112, "Percussive"),
        (127, "Sound Effects"),
        (128, "Percussive"),
    ],
)
def test_programs_fall_into_their_families(program: int, name: str) -> None:
    assert INSTRUMENTS[from_program(program)] == name


@pytest.mark.parametrize("program", [-1, 129])
def test_a_program_that_does_not_exist_is_refused(program: int) -> None:
    with pytest.raises(ValueError, match=str(program)):
        from_program(program)


def test_names_are_found_whatever_their_case() -> None:
    assert [lookup(name.upper()) for name in INSTRUMENTS] == list(range(18))
    assert lookup("  synth   lead ") == INSTRUMENTS.index("Synth Lead")
    assert lookup("vocal") == VOCAL


@pytest.mark.parametrize(("typed", "meant"), [("guitarre", "Guitar"), ("drums", "Percussive"), ("", "")])
def test_an_unknown_name_gets_a_suggestion(typed: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{meant}"):
        lookup(typed)
