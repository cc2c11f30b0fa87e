"""One conversation with one coordinator, from the handshake to its end."""
