"""The command `elman`: how it starts and ends. The subcommands are in `elman.cli.commands`."""

from __future__ import annotations

import sys

from elman.cli import signals, streams, torchrun


def main() -> None:
    """Run the command; user errors print one message and exit with 2, a diverged run with 1."""
    # Before click is imported, which takes a tenth of a second.
    with signals.handled() as received, streams.guarded(), torchrun.muted_follower():
        try:
            signals.begin()
            from elman.cli.commands import run_command

            code = run_command()
        except streams.ReaderLeftError:
            code = 141  # as a shell reports a program that SIGPIPE ended
        except KeyboardInterrupt as error:
            code = received.say(error)
        except SystemExit:
            if received.received is None:
                raise
            code = received.exit_code
        except Exception as error:
            if received.received is None:
                raise
            code = received.say(error)  # compiled code may report the interruption as its own error
        else:
            if code and received.received is not None:
                code = received.say(None)
    sys.exit(code)
