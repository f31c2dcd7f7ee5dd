"""Ports for runs of several processes."""

import socket


def free_port() -> int:
    """A port of this machine on which nothing listens now."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]
