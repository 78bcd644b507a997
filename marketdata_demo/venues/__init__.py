"""A small generated market at three exchanges, as the messages and captures each of them would send."""
