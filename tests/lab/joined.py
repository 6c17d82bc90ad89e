"""Modules of the page as one script, for pages of tests that run some of them."""

from elman.lab.page import modules_of, plain


def join_modules(root: str) -> str:
    """Return the text of a module and of all that it imports."""
    return '"use strict";\n' + "".join(map(plain, modules_of(root)))
