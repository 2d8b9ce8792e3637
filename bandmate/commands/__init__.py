"""The verbs of the command line, one module each: ``main(argv) -> exit code``. See ``bandmate.cli``."""
