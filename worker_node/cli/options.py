"""The options of the data owner's commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from worker_node.training import KEEP_WORK_SECONDS

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

LAYOUT_OPTIONS = (
    click.option("--text-column", metavar="COLUMN", help="Name or number of the texts' column."),
    click.option("--label-column", metavar="COLUMN", help="Name or number of the labels' column."),
    click.option(
        "--spam",
        multiple=True,
        metavar="VALUE",
        help="A label that means spam, and all others ham; repeatable.",
    ),
    click.option("--encoding", help="Of the texts, like utf-8, cp1252, utf-16 or gb18030."),
    click.option(
        "--format",
        "file_format",
        type=click.Choice(["tsv", "csv", "jsonl", "json", "parquet", "excel", "sms-backup"]),
        help="tsv: lines whose quotes mean nothing; csv: any separator.  [default: found out]",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        help="Labels of a phone's backup (SMS Backup & Restore), by date or by text.",
    ),
    click.option(
        "--most-megabytes",
        type=click.IntRange(1, 65_536),
        default=256,
        show_default=True,
        envvar="FEDSMS_MOST_MEGABYTES",
        show_envvar=True,
        help="That a file of messages may have, also unpacked; reading one takes some three times "
        "as much memory.",
    ),
)
"""What the owner says of a file where it is not to be found out."""

LAYOUT = (
    "text_column",
    "label_column",
    "spam",
    "encoding",
    "file_format",
    "labels",
    "most_megabytes",
)
"""Their parameters, which are fields of worker_node/data/formats.py's Layout."""


class _HeldOutShare(click.FloatRange):
    """A share, told apart from a file of held-out rows, which is another option's."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            if isinstance(value, str) and Path(value).exists():
                self.fail(f"{value!r} is a file; give it with --held-out-data.", param, ctx)
            raise


def _data_option(*, required: bool) -> Callable[[Any], Any]:
    return click.option(
        "--data",
        required=required,
        type=click.Path(path_type=Path),
        envvar="FEDSMS_DATA",
        show_envvar=True,
        help="The owner's messages: tab-separated, CSV, JSON, Parquet, Excel, also in .gz or .zip; "
        "folders ham and spam of texts; or a folder with a file messages.*, and held-out.* if any.",
    )


DATA_OPTIONS = (
    _data_option(required=True),
    click.option(
        "--held-out-data",
        type=click.Path(path_type=Path),
        envvar="FEDSMS_HELD_OUT_DATA",
        show_envvar=True,
        help="File of rows to measure with; then all of --data is trained on.",
    ),
    click.option(
        "--held-out",
        type=_HeldOutShare(min=0, max=1, max_open=True),
        default=0.2,
        show_default=True,
        envvar="FEDSMS_HELD_OUT",
        show_envvar=True,
        help="Else the share of --data that is held out; 0 holds nothing out.",
    ),
    *LAYOUT_OPTIONS,
    click.option("--skip-bad-lines", is_flag=True, help="Count bad rows instead of stopping."),
    click.option(
        "--allow-one-class", is_flag=True, help="Serve even where all rows are ham, or all spam."
    ),
    click.option(
        "--hide-label-counts",
        is_flag=True,
        help="Tell numbers of spam only as evaluation does, of held-out messages.",
    ),
)


SOURCE = ("data", "held_out_data", "held_out", "skip_bad_lines", "allow_one_class", *LAYOUT)
"""Parameters that say which rows are read."""

health_option = click.option(
    "--health-socket",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_HEALTH_SOCKET",
    show_envvar=True,
    help="Path of a Unix socket at which the node tells its health.  [default: none]",
)


counts_option = click.option(
    "--counts",
    "--standing",  # its older name
    "counts",
    type=click.Path(path_type=Path),
    envvar=["FEDSMS_COUNTS", "FEDSMS_STANDING"],
    show_envvar=True,
    help="File with today's counts, and whom the node knows.  [default: counts.json in the "
    "identity folder; with an audit log elsewhere NAME.jsonl, NAME.counts.json beside it]",
)


def counts_of(what: str) -> Callable[..., Any]:
    """--counts of a command that reads what lies beside them. Args: what: that, and its verb."""
    return click.option(
        "--counts",
        type=click.Path(path_type=Path),
        envvar=["FEDSMS_COUNTS", "FEDSMS_STANDING"],
        show_envvar=True,
        help=f"The node's file of counts, where it is elsewhere; the {what} beside it.",
    )


models_option = click.option(
    "--models",
    type=click.Path(path_type=Path),
    envvar="FEDSMS_MODELS",
    show_envvar=True,
    help="Folder of the models that coordinators hand out, for predict.  [default: models beside "
    "the counts]",
)

GUARD_OPTIONS = (
    click.option(
        "--policy",
        type=click.Path(path_type=Path),
        envvar="FEDSMS_POLICY",
        show_envvar=True,
        help="What coordinators may have done here.  [default: policy.toml in the identity folder "
        "or here, where it is there]",
    ),
    click.option(
        "--audit-log",
        type=click.Path(path_type=Path),
        envvar="FEDSMS_AUDIT_LOG",
        show_envvar=True,
        help="Where each request is written down before it is answered; off writes nothing.  "
        "[default: audit.jsonl in the identity folder; without one, <id>.audit.jsonl here]",
    ),
    counts_option,
    models_option,
)

SERVE_OPTIONS = (
    click.option(
        "--id",
        "node_id",
        envvar="FEDSMS_ID",
        show_envvar=True,
        help="The owner's name.  [default: the name in the identity's certificate]",
    ),
    *DATA_OPTIONS,
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        envvar="FEDSMS_HOST",
        show_envvar=True,
        help="Where to listen.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=8777,
        show_default=True,
        envvar="FEDSMS_PORT",
        show_envvar=True,
        help="0 takes a free one.",
    ),
    click.option(
        "--dial",
        "dials",
        multiple=True,
        metavar="URL",
        envvar="FEDSMS_DIAL",
        show_envvar=True,
        help="A coordinator to dial, such as wss://coordinator.example:8770, until it listens and "
        "whenever the line is lost; repeatable. No port is opened then, unless --host or --port is "
        "given.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="Torch threads of the training process; a small model gains nothing from more.",
    ),
    click.option(
        "--identity",
        type=click.Path(path_type=Path),
        envvar="FEDSMS_IDENTITY",
        show_envvar=True,
        help="Folder with the node's key and certificate; makes it serve with TLS.  "
        "[default: identity, where it is there]",
    ),
    click.option(
        "--coordinator",
        "coordinators",
        multiple=True,
        metavar="NAME",
        envvar="FEDSMS_COORDINATORS",
        show_envvar=True,
        help="A coordinator to work with; repeatable.  [default: those of the policy; where it "
        "names none, those in coordinators.txt]",
    ),
    click.option(
        "--insecure",
        is_flag=True,
        envvar="FEDSMS_INSECURE",
        show_envvar=True,
        help="Serve without TLS: whoever reaches the port may train, and read along.",
    ),
    health_option,
    click.option(
        "--runs",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        envvar="FEDSMS_RUNS",
        show_envvar=True,
        help="Stop after this many coordinators have trained and said goodbye; 0 serves on.",
    ),
    click.option(
        "--patience",
        type=click.FloatRange(min=0),
        default=0,
        show_default=True,
        envvar="FEDSMS_PATIENCE",
        show_envvar=True,
        metavar="SECONDS",
        help="Stop when no coordinator has been here for so long; 0 waits for ever.",
    ),
    click.option(
        "--allow",
        type=click.Choice(["pointers"]),
        multiple=True,
        envvar="FEDSMS_ALLOW",
        show_envvar=True,
        help="What else coordinators may do than rounds: pointers lets them run tensor operations "
        "on your rows, which tells them more; so does modes in policy.toml.",
    ),
    click.option(
        "--heartbeat",
        type=click.FloatRange(min=0, max=1e6),
        default=10.0,
        show_default=True,
        envvar="FEDSMS_HEARTBEAT",
        show_envvar=True,
        help="Seconds of silence after which a coordinator counts as lost; 0: never.",
    ),
    click.option(
        "--keep-work",
        type=click.FloatRange(min=0, max=1e6),
        default=KEEP_WORK_SECONDS,
        show_default=True,
        envvar="FEDSMS_KEEP_WORK",
        show_envvar=True,
        help="Seconds that a training goes on whose coordinator is lost, for its return; 0: none.",
    ),
    click.option(
        "--page",
        is_flag=True,
        help="Serve the owner's page to browsers of this machine, and say at which address: who "
        "asks for what, what leaves, what is refused; to pause, and to answer what the policy "
        "asks.",
    ),
    click.option(
        "--metrics",
        metavar="[HOST:]PORT",
        envvar="FEDSMS_METRICS",
        show_envvar=True,
        help="Serve counts of requests for Prometheus, at 127.0.0.1 where no host is named; 0 "
        "takes a free port. They have no rows, labels or names.",
    ),
    click.option(
        "--with-stdin",
        is_flag=True,
        help="Stop when standard input ends: for programs that start nodes.",
    ),
    *GUARD_OPTIONS,
)


def own_data_options(function: Decorated) -> Decorated:
    """The same where nobody need have any, or is told of it."""
    return _all((_data_option(required=False), *DATA_OPTIONS[1:-1]), function)


def data_options(function: Decorated) -> Decorated:
    """The options that say what the node holds."""
    return _all(DATA_OPTIONS, function)


def serve_options(function: Decorated) -> Decorated:
    """What the node holds, where and how it serves, and what coordinators may do."""
    return _all(SERVE_OPTIONS, function)


def _all(options: tuple[Callable[[Any], Any], ...], function: Decorated) -> Decorated:
    for option in reversed(options):
        function = option(function)
    return function
