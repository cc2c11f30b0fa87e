"""Options that several of the coordinator's commands have."""

from __future__ import annotations

from pathlib import Path

import click

from server.cli.setting_options import option_of
from server.runs.federation_file import DEFAULT_FILE, read_federation
from server.runs.settings import BY_NAME

TWO_NODES = "--node bob=wss://10.0.0.7:8777 --node anne=wss://10.0.0.8:8777"


def use_federation(ctx: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Callback of the eager --federation flag: the file's values become the flags' defaults."""
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    if path is not None:
        known = {parameter.name for parameter in ctx.command.params}
        values = read_federation(path).as_defaults()
        ctx.default_map = {key: value for key, value in values.items() if key in known}
    return path


node_option = click.option(
    "--node",
    multiple=True,
    metavar="ID[=URL]",
    envvar="FEDSMS_NODES",
    show_envvar=True,
    help="A node's id and address, for example bob=wss://10.0.0.7:8777; without an address it "
    "dials in, at --listen. Once for each node.",
)
listen_option = click.option(
    "--listen",
    metavar="HOST:PORT",
    envvar="FEDSMS_LISTEN",
    show_envvar=True,
    help="Where nodes without an address dial in, for example 0.0.0.0:8770; "
    "ws://127.0.0.1:8770 is without TLS.",
)
DIALLING_IN = "--listen 0.0.0.0:8770 --node bob --node anne"
federation_option = click.option(
    "--federation",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=use_federation,
    expose_value=False,
    envvar="FEDSMS_FEDERATION",
    show_envvar=True,
    help="TOML file with nodes and settings; ./federation.toml is used when it is there.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON on standard output.")
run_dir_option = option_of(BY_NAME["run_dir"])
model_option = click.option(
    "--model",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_MODEL",
    show_envvar=True,
    help="A run folder, or any folder with model.safetensors and config.json.  "
    "[default: the newest in --run-dir]",
)


insecure_option = click.option(
    "--insecure",
    is_flag=True,
    envvar="FEDSMS_INSECURE",
    show_envvar=True,
    help="Allow lines to other machines without TLS: ws:// addresses.",
)
