"""Tables of results, for those who have pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elman.errors import ElmanError


def frame(columns: Mapping[str, Any]) -> Any:
    """Return a pandas DataFrame of columns of equal length, in their order.

    Raises: ElmanError if pandas is missing.
    """
    try:
        import pandas
    except ImportError:
        raise ElmanError(
            "to_frame: pandas is not installed. Install it: pip install pandas; or take the arrays "
            "from the result's attributes"
        ) from None
    return pandas.DataFrame(dict(columns))
