"""The command line as a whole: its verbs, its help, and what it does not load."""

import subprocess
import sys

import pytest

from bandmate import cli


def test_help_version_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        cli.main(["--help"]) == cli.main([]) == cli.main(["--version"]) == cli.main(["models", "list"]) == 0
    )
    said = capsys.readouterr().out
    assert "bandmate stream song.wav" in said
    assert "bandmate 0." in said
    assert "\nduet-small\n  duet, 7." in said
    assert "M parameters; codec spectral, 4.7 M parameters; 25 MB\n" in said
    assert "any t_f and k" in said
    assert "advised: temperature 1.0, top_k 200, guidance" in said
    assert cli.main(["strem"]) == 2
    assert "did you mean 'stream'?" in capsys.readouterr().err
    assert cli.main(["models", "lst"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_every_verb_can_be_loaded_and_helps(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in cli.VERBS:
        try:
            code = cli.load(verb)(["--help"])
        except SystemExit as leave:
            code = leave.code  # type: ignore[assignment]
        assert not code
        assert "xample" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--help"], ["stream", "--help"], ["stream", "no.wav", "-o", "x.wav"]])
def test_quick_answers_do_not_import_torch(arguments: list[str]) -> None:
    code = (
        f"import sys; from bandmate.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules), 'too much imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
