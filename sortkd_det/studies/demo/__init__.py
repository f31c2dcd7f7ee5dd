"""The demo behind ``make demo``: it stands on all other rooms, and none stands on it."""
