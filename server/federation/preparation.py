"""From what a caller says to a run that can begin: settings, recipe, rule, and who looks on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from server.federation.configuration import (
    Configuration,
    Nodes,
    Source,
    checked_settings,
    configure,
)
from server.federation.events import Event
from server.federation.forgotten import OwnerForgotten
from server.federation.metered import metered
from server.federation.model import Model
from server.federation.results import ByOwner, Evaluation, Statuses, Worth
from server.federation.run import Run
from server.nodes.addresses import NodeAddress
from server.runs.setting import SecureWanted
from server.runs.settings import RunSettings, changed, check_mode, check_resumed, from_values
from shared.model.recipe import Recipe, load_recipe

if TYPE_CHECKING:  # torch and PySyft come with the first run
    from server.aggregation.aggregators import Aggregate, Aggregator
    from server.display.progress import Display
    from server.federation.pace import Pace, Work
    from server.passport.forgetting import Forgetting
    from server.passport.making import SignedPassport
    from server.runs.training_run import Steering
    from shared.model.vectors import Vector

RecipeSource = str | Path | Recipe | Mapping[str, Any]
OwnRule = Callable[["Vector"], Any]
"""Made for each round with the state (P,) that it begins with; see Aggregator, whose `finish` may
also give the state alone."""
Shown = Literal["bars", "json"]
OWN = "own"
"""What a recipe is called that has no name."""


class Preparation:
    """What Federation and AsyncFederation have in common.

    Args:
        source: the path of a federation.toml, its content as a mapping, or a mapping of node ids to
            addresses; None reads ./federation.toml where it is there and no nodes are named.
        nodes: ids and addresses, or nodes that know theirs; they win over the source's.
        listen: host and port, such as "0.0.0.0:8770", at which nodes without an address dial in.
        authority: the CA's folder, whose open invitations are taken while a run listens; None
            takes none.
        identity: the coordinator's identity folder, for lines with TLS.
        insecure: lines to other machines may be without TLS.
        settings: of each run of this federation, by the names of `train`'s flags.

    Attributes:
        last_run: the run that began last; None before the first.

    Raises:
        UsageError: no such file, an unknown setting, a value out of bounds, a malformed address.
    """

    def __init__(
        self,
        source: Source = None,
        *,
        nodes: Nodes | None = None,
        listen: str | None = None,
        authority: str | Path | None = None,
        identity: str | Path | None = None,
        insecure: bool | None = None,
        **settings: Any,
    ) -> None:
        self.configuration: Configuration = configure(
            source, nodes, identity, insecure, settings, listen, authority
        )
        self.last_run: Run | None = None
        self._begun: dict[Path, Pace] = {}  # runs that are not over

    @property
    def nodes(self) -> dict[str, str]:
        """Node ids and their addresses; of one that dials in, the coordinator's."""
        return {node.id: node.url for node in self.configuration.nodes}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.nodes})"

    def _pace(
        self,
        deliver: Callable[[Event], object],
        opened: Callable[[Run], object],
        recipe: RecipeSource | None,
        resume: Run | str | Path | None,
        shown: Shown | None,
        settings: dict[str, Any],
    ) -> Pace:
        """A run that has not begun. Raises UsageError where it cannot."""
        from server.runs.training_run import Steering

        rule = settings.pop("aggregation", None)
        own_rule = None if rule is None or isinstance(rule, str) else cast(OwnRule, rule)
        if isinstance(rule, str):
            settings["aggregation"] = rule
        page, metrics = settings.pop("page", None), settings.pop("metrics", None)
        given = checked_settings(settings)
        steering = Steering()
        if own_rule is not None:
            steering = replace(steering, make=_adapted(own_rule), own_rule=_called(own_rule))
        if resume is None:
            work = self._beginning(self.settings_for(recipe, given), shown)
        else:
            path = resume.path if isinstance(resume, Run) else Path(resume)
            work = self.going_on(path, given, shown)
        if metrics is not None:
            work = metered(work, metrics)
        if page is not None:
            return self._on_a_page(page, work, steering, deliver, opened)
        return self._paced(work, steering, deliver, opened)

    def _on_a_page(
        self,
        told: Callable[[str], object],
        work: Work,
        steering: Steering,
        deliver: Callable[[Event], object],
        opened: Callable[[Run], object],
    ) -> Pace:
        """The same, with a live page whose address `told` is given."""
        from server.federation.live_page import LiveRun, on_a_page

        live = LiveRun(told)

        async def shown(own: Steering) -> Path:
            async with live.page:
                return await work(on_a_page(live, own))

        return self._paced(shown, steering, deliver, opened)

    def _paced(
        self,
        work: Work,
        steering: Steering,
        deliver: Callable[[Event], object],
        opened: Callable[[Run], object],
    ) -> Pace:
        from server.federation.pace import Pace

        def open_run(path: Path, pace: Pace) -> None:
            begun = {**self._begun, path: pace}
            self._begun = {at: one for at, one in begun.items() if not one.ended.done()}
            self.last_run = Run(path, pace.settle)
            opened(self.last_run)

        return Pace(work, steering, deliver, open_run)

    def settings_for(
        self,
        recipe: RecipeSource | None,
        given: Mapping[str, Any],
        nodes: tuple[NodeAddress, ...] | None = None,
    ) -> RunSettings:
        """Those of a run that begins.

        Args:
            nodes: that it has; None for the federation's own.

        Raises:
            UsageError: an unknown setting, a value out of bounds, or no nodes.
        """
        given = {**self.configuration.settings, **checked_settings(given)}
        check_mode(given.get("mode", "rounds"), given)
        source = recipe if recipe is not None else given.get("recipe", "default")
        if isinstance(source, str | Path):
            given["recipe"], loaded = str(source), load_recipe(str(source))
        elif isinstance(source, Recipe):
            given["recipe"], loaded = OWN, source
        else:
            given["recipe"], loaded = OWN, Recipe.parse(source, "the recipe given")
        settings = from_values(
            given,
            loaded,
            nodes=self.configuration.addresses() if nodes is None else nodes,
            identity=self.configuration.identity,
            authority=self.configuration.authority,
        )
        if settings.mode == "pointers":
            from server.pointers.stepwise import check_stepwise

            check_stepwise(settings.recipe)  # before anybody is dialled and a run folder made
        return settings

    def _beginning(self, settings: RunSettings, shown: Shown | None) -> Work:
        async def work(steering: Steering) -> Path:
            from server.runs.training_run import train

            return await train(settings, replace(steering, display=_display(settings, shown)))

        return work

    def going_on(self, path: Path, given: dict[str, Any], shown: Shown | None) -> Work:
        """The rest of a stopped run; raises, once it begins, as `resume` does."""
        configuration = self.configuration

        async def work(steering: Steering) -> Path:
            from server.runs.resume import open_stopped, with_changes
            from server.runs.training_run import resume

            before = self._begun.get(path)
            if before is not None and before.is_stopping:
                await asyncio.wrap_future(before.ended)
            stopped = open_stopped(path)
            try:
                check_resumed(stopped.settings, given)
                moved = configuration.moved(stopped.settings.nodes)
                configuration.vet(moved or stopped.settings.nodes)
                settings = with_changes(
                    changed(stopped.settings, given),
                    moved,
                    identity=configuration.identity,
                    authority=configuration.authority,
                )
                display = _display(settings, shown)
            except BaseException:
                stopped.lock.release()
                raise
            return await resume(stopped, settings, replace(steering, display=display))

        return work

    def _forgetting(
        self, owner: str, run: Run | str | Path, secure: SecureWanted | None
    ) -> Forgetting:
        """What a run without the owner is; raises as plan_forgetting does."""
        from server.passport.forgetting import plan_forgetting

        moved = {node.id: node for node in self.configuration.nodes}
        path = run.path if isinstance(run, Run) else Path(run)
        plan = plan_forgetting(owner, path, moved, secure)
        self.configuration.vet(plan.settings.nodes)
        identity = self.configuration.identity
        return replace(plan, settings=replace(plan.settings, identity=identity))

    def _without(
        self,
        plan: Forgetting,
        shown: Shown | None,
        deliver: Callable[[Event], object],
        opened: Callable[[Run], object],
    ) -> Pace:
        """The run without the owner, that has not begun."""
        from server.runs.training_run import Steering

        return self._paced(self._beginning(plan.settings, shown), Steering(), deliver, opened)

    async def _forgotten(self, plan: Forgetting, run: Run | None) -> OwnerForgotten:
        from server.passport.forgetting import finish_forgetting

        assert run is not None
        return OwnerForgotten(run, await finish_forgetting(plan, run.path))

    async def _passport(self, run: Run | str | Path | None) -> SignedPassport:
        from server.passport.making import make_passport

        path = self._model(run).path
        return await make_passport(
            path, self.configuration.identity, self.configuration.nodes, self.configuration.vet
        )

    async def _status(self) -> Statuses:
        from server.nodes.status import ask_all

        addresses = self.configuration.addresses()
        return Statuses(await ask_all(addresses, self.configuration.identity))

    async def _evaluate(self, model: Model | Run | str | Path | None) -> Evaluation:
        from server.runs.evaluation_run import evaluate

        nodes = self.configuration.addresses()
        found = self._model(model)
        wanted = self.configuration.settings.get("secure_aggregation", "auto")
        overall, each = await evaluate(nodes, found.saved, self.configuration.identity, wanted)
        return Evaluation(overall, ByOwner(each), str(found.path))

    async def _compare(self, run: Run | str | Path | None, shown: Shown | None) -> Worth:
        from server.runs.comparison_run import compare
        from server.runs.resume import read_settings

        path = run.path if isinstance(run, Run) else Path(run) if run else self._model(None).path
        settings = read_settings(path)[1]
        configuration = self.configuration
        nodes = configuration.moved(settings.nodes) or settings.nodes
        configuration.vet(nodes)
        given = configuration.settings.get("secure_aggregation", settings.secure_aggregation)
        settings = replace(
            settings, identity=configuration.identity, secure_aggregation=given, nodes=nodes
        )
        found = await compare(path, settings, _display(settings, shown))
        return Worth(str(path), found)

    def _model(self, model: Model | Run | str | Path | None) -> Model:
        if isinstance(model, Model):
            return model
        if model is None:
            model = self.last_run
        if isinstance(model, Run):
            return model.model
        if model is not None:
            return Model(model)
        from shared.trained_model.saved_model import newest

        return Model(newest(Path(self.configuration.settings.get("run_dir", "runs"))))


def _display(settings: RunSettings, shown: Shown | None) -> Display:
    from server.display.progress import Silent, make_display

    if shown is None:
        return Silent()
    rounds, nodes = settings.recipe.federation.rounds, [node.id for node in settings.nodes]
    return make_display(rounds, nodes, as_json=shown == "json")


def _called(rule: OwnRule) -> str:
    return f"{rule.__module__}.{getattr(rule, '__qualname__', type(rule).__qualname__)}"


def _adapted(rule: OwnRule) -> Callable[[Vector], Aggregator]:
    """The rule, whose `finish` may give the state alone."""
    from server.aggregation.aggregators import Aggregate

    class Adapted:
        def __init__(self, base: Vector) -> None:
            self._rule = rule(base)

        def add(self, node: str, state: Vector, rows: int) -> None:
            self._rule.add(node, state, rows)

        def finish(self) -> Aggregate:
            found = self._rule.finish()
            return found if isinstance(found, Aggregate) else Aggregate(found)

    return Adapted
