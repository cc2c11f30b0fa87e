"""The coordinator's command line, `fedsms` once it is set up.

Once, with each data owner (their side is `fedsms-node init` and `join`):

    python -m server init
    python -m server admit bob.csr

Then, while the owners' nodes serve:

    python -m server status --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server train  --node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777
    python -m server predict "You have won a prize, call now"
"""

from __future__ import annotations

from shared.starting import start

COMMANDS = "server.cli.commands"


def main() -> None:
    """`fedsms`."""
    start(COMMANDS, "fedsms")


if __name__ == "__main__":
    start(COMMANDS, "python -m server")
