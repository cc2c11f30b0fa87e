"""What coordinator and node say to each other: frames, handshake, heartbeat, commands, timeouts."""
