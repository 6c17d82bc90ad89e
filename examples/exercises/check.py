"""Checks your answers to the exercises of the lesson, and says what is wrong with them.

python examples/exercises/check.py          how far you are
python examples/exercises/check.py 3        check exercise 3
"""

import argparse
import importlib.util
import sys
import traceback
from pathlib import Path

import judges
import judges_of_units

FOLDER = Path(__file__).parent
# Each: name of the file and its function, and what checks it.
EXERCISES = (
    ("gru_states", "gru_states", judges.check_gru),
    ("mean_gradients", "mean_gradients", judges.check_mean),
    ("truncated_gradients", "truncated_gradients", judges.check_truncated),
    ("parity_weights", "weights", judges_of_units.check_parity),
    ("find_counter", "find_counter", judges_of_units.check_counter),
)


def load(path, name):
    """Return the reader's function."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise judges.WrongAnswerError(f"There is no function {name} in {path.name}.")
    return getattr(module, name)


def check(number, folder=FOLDER):
    """Check one exercise, from 1. Return "right", "not written yet" or "wrong", and why."""
    stem, name, judge = EXERCISES[number - 1]
    path = Path(folder) / f"{stem}.py"
    try:
        judge(load(path, name))
    except NotImplementedError:
        return "not written yet", f"Write {name} in {path}."
    except judges.WrongAnswerError as error:
        return "wrong", str(error)
    except Exception as error:
        lines = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
        place = f" in line {lines[-1].lineno} of {path.name}: {lines[-1].line}" if lines else ""
        return "wrong", f"{type(error).__name__}{place}\n{error}"
    return "right", ""


def main():
    """Check one exercise, or say how far the reader is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    numbers = range(1, len(EXERCISES) + 1)
    parser.add_argument("number", type=int, nargs="?", choices=numbers, help="exercise to check")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of your files")
    args = parser.parse_args()
    for number in [args.number] if args.number else numbers:
        result, why = check(number, args.folder)
        print(f"Exercise {number}, {EXERCISES[number - 1][0]}: {result}")
        if args.number and why:
            print(why)
    if args.number and result != "right":
        sys.exit(1)


if __name__ == "__main__":
    main()
