"""Run the command line in this process."""

from click.testing import CliRunner

from galaxy_sommelier.cli.main import main


def sommelier(*words):
    """Return exit code and output of a command."""
    result = CliRunner().invoke(main, [str(w) for w in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def refused(text, *words):
    """Check that a command ends with exit code 2 and one line that contains `text`."""
    code, output = sommelier(*words)
    assert code == 2 and text in output and len(output.splitlines()) == 1, output


def printed(*words, expect=0):
    """Check the exit code of a command, and return its output."""
    code, output = sommelier(*words)
    assert code == expect, output
    return output
