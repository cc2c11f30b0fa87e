"""The commands of scripts/federation.py that concern some owners' nodes alone."""

from __future__ import annotations

import click

from scripts.containers.cli import PROGRAM, json_option, name_option, opened, tag_option
from shared.cli import command


def _on_owners(action: str, summary: str) -> click.Command:
    """A command that does one thing to some owners' nodes."""

    @command(action, f"{PROGRAM} {action} carol", f"{PROGRAM} {action} carol dave")
    @click.argument("owner", nargs=-1, required=True)
    @name_option
    def act(owner: tuple[str, ...], name: str) -> None:
        with opened(name) as federation:
            from scripts.containers.actions import ACTIONS

            ACTIONS[action](federation, owner)

    act.help = summary
    return act


@command("logs", f"{PROGRAM} logs carol --tail 20", f"{PROGRAM} logs --follow")
@click.argument("owner", nargs=-1)
@click.option("--follow", "-f", is_flag=True, help="Go on until the nodes end, or Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), help="Only so many of the last lines of each.")
@name_option
def logs(owner: tuple[str, ...], follow: bool, tail: int | None, name: str) -> None:
    """Show what an OWNER's node wrote, or all of them."""
    with opened(name) as federation:
        from scripts.containers.logs import show_logs

        nodes = {one: federation.node(one) for one in owner} or federation.some_nodes()
        show_logs(nodes, follow, tail)


@command(
    "audit",
    f"{PROGRAM} audit carol --since 10m --decision refused",
    f"{PROGRAM} audit carol --verify",
)
@click.argument("owner")
@click.option("--since", metavar="WHEN", help="2h, 7d, or a date or time.")
@click.option("--decision", type=click.Choice(["began", "allowed", "refused", "failed"]))
@click.option("--follow", is_flag=True, help="Show new lines as they come, until Ctrl-C.")
@click.option("--verify", is_flag=True, help="Say whether a line was removed or changed.")
@json_option
@name_option
@tag_option
def audit(
    owner: str,
    since: str | None,
    decision: str | None,
    follow: bool,
    verify: bool,
    as_json: bool,
    name: str,
    tag: str,
) -> int:
    """Show what coordinators asked of an OWNER's node, and what left it."""
    with opened(name, tag) as federation:
        from scripts.containers.audit import show_audit_log

        flags = [f"--since={since}"] if since else []
        flags += [f"--decision={decision}"] if decision else []
        switches = {"--follow": follow, "--verify": verify, "--json": as_json}
        flags += [switch for switch, on in switches.items() if on]
        return show_audit_log(federation, owner, flags)


OWNERS_COMMANDS = (
    _on_owners("kill", "Kill an OWNER's node at once, as a power cut would."),
    _on_owners("start", "Start an OWNER's killed node, and wait until it is ready."),
    _on_owners("pause", "Freeze an OWNER's node: it hears, and says nothing."),
    _on_owners("unpause", "Let an OWNER's node go on."),
    _on_owners("disconnect", "Take an OWNER's node off its network."),
    _on_owners("connect", "Put an OWNER's node back on its network."),
    logs,
    audit,
)
