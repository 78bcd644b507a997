"""Why a step failed, in the words that a person needs."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterEvent


def reason(event: "DagsterEvent") -> str:
    """Of the event of a failed step: the failure's own words, else the error's."""
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else str(event.message)
