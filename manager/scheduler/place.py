"""Placing: tasks that wait get a node and addresses, or a reason why not.

Owns the choice of nodes and the words for it; writes tasks into the draft. Tasks are placed in groups of one
service and spec version: nodes come out of their class's heap by number of tasks, those with none of this service
take one each, and what remains is poured over the others, always into the lowest. Global services' tasks have their
node already.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Node, Service, Task, TaskNetwork, TaskStatus
from cluster.model.room_reasons import is_room_coming
from cluster.model.task_state import ASSIGNED, NEW, PENDING, RUNNING, TaskState
from manager.allocator import networks
from manager.allocator.endpoints import networks_of
from manager.draft import Draft, Reason
from manager.index import Index
from manager.orchestrator import dependencies, update
from manager.orchestrator.slots import ServiceSlots
from manager.orchestrator.tasks import ASSIGNED_MESSAGE, PENDING_MESSAGE, hostname
from manager.scheduler import filters, generic, ranking
from manager.scheduler.classes import NodeOrder, OrderBy
from manager.scheduler.filters import Ask
from manager.scheduler.preemption import Claims, make_room
from manager.scheduler.ranking import Placed, Rank
from manager.scheduler.seals import Seal, seal_of
from manager.scheduler.spread import Tree

EXPLAINED_NODES: Final = 8
"""Nodes whose rank the reason of a task that runs carries, at most: the best."""

TURNED_DOWN: Final = 256
"""Nodes whose verdict the reason of a task that waits carries, at most; the summary counts them all."""

BATCH: Final = 2048
"""Tasks that had waited before, which are tried together, at most: more than one plan holds."""

LOOKED_AT: Final = 32
"""Nodes with few tasks that are looked at for one that has none of the service, before the service gets an order of its own."""


Attach = dict[tuple[NodeId, NetworkId], None]
"""Load balancers that tasks of this plan make necessary."""


class _Group(msgspec.Struct):
    """Tasks that wait and are placed together, and what they need: those of one service and spec version, or the only tasks of services that are alike."""

    ask: Ask
    networks: tuple[NetworkId, ...]
    tasks: list[Task]  # not yet placed, the next one last
    assigned: TaskStatus  # of those that are placed
    attach: Attach
    slots: ServiceSlots | None = None  # None: each is the only task of its service
    quiet: bool = False  # whether nothing of the service is under way to which it matters that its tasks get a node
    seal: Seal | None = None
    considered: tuple[tuple[str, str], ...] = ()
    blocked: str = ""  # why no further task can be placed, whatever the node


def place(draft: Draft) -> None:
    """Find a node for every task that waits: the new ones and, when something was freed, those that waited before."""
    index, agenda = draft.index, draft.index.agenda
    if agenda.retry_pending:
        agenda.retry_pending = False
        agenda.retry.update(index.pending)
    attach: Attach = {}
    claims, placed = Claims(), list[TaskId]()
    try:
        waited = iter(_by_priority(index) if index.wishes else agenda.retry)  # no copy of what may be a million
        batch = [*draft.waiting, *_next(draft, waited, placed)]
        while batch:
            _place_all(draft, dict.fromkeys(batch), attach, claims)
            if draft.full:
                break
            draft.tried.extend(id_ for id_ in batch if id_ in index.pending and id_ in agenda.retry)
            batch = _next(draft, waited, placed)
    finally:
        claims.undo()
    for id_ in placed:
        agenda.retry.pop(id_, None)
    for node_id, network_id in attach:
        networks.attach(draft, node_id, network_id)


def _next(draft: Draft, waited: Iterator[TaskId], placed: list[TaskId]) -> list[TaskId]:
    """The next of those that still wait, as many as the plan may have room for; what the store says to have been placed meanwhile needs no more looking at
    (`placed`)."""
    index, found, most = draft.index, list[TaskId](), min(BATCH, draft.room)
    for id_ in waited:
        if id_ in index.pending:
            found.append(id_)
            if len(found) == most:
                break
        elif not index.is_intended(id_):
            placed.append(id_)
    return found


def _by_priority(index: Index) -> list[TaskId]:
    """What is to be tried, and whatever else waits with a priority or, where there are lower ones than none, for others to stop (what it waits for has to be
    kept for it), the highest first."""
    below = any(wish.priority < 0 for wish in index.wishes.values())
    waiting = ((id_, index.tasks[id_]) for id_ in index.pending)
    kept = (id_ for id_, task in waiting if task.service_id in index.wishes or (below and is_room_coming(task.status.err)))
    ids = {**dict.fromkeys(kept), **index.agenda.retry}
    return sorted((id_ for id_ in ids if id_ in index.pending), key=lambda id_: -index.wish(index.tasks[id_].service_id).priority)


def _place_all(draft: Draft, task_ids: Iterable[TaskId], attach: Attach, claims: Claims) -> None:
    """Find a node for each of these that waits, the highest priority first."""
    index = draft.index
    waiting = sorted([index.tasks[id_] for id_ in task_ids if id_ in index.pending], key=_turn)
    if index.wishes:
        waiting.sort(key=lambda task: -index.wish(task.service_id).priority)
    for tasks, alike in _grouped(draft, waiting):
        service = index.services.get(tasks[0].service_id)
        if service is not None and (not draft.full or any(task.id in draft.waiting for task in tasks)):
            _place_group(draft, service, tasks, attach, claims, alike=alike)


def _grouped(draft: Draft, waiting: Iterable[Task]) -> list[tuple[list[Task], bool]]:
    """The tasks in groups that are placed together, in the order of their first ones; and whether a group is of services that are alike: those follow one on
    the other, so that nobody is placed before who has waited for longer."""
    groups: list[tuple[list[Task], bool]] = []
    of_service: dict[tuple[ServiceId, int], list[Task]] = {}
    last: tuple[object, ...] | None = None
    for task in waiting:
        asks = _asks_alone(draft, task) if task.service_id in draft.index.one_off else None
        if asks is not None:
            if asks == last:
                groups[-1][0].append(task)
            else:
                groups.append(([task], True))
            last = asks
            continue
        key = task.service_id, task.spec_version
        if key in of_service:
            of_service[key].append(task)
        else:
            of_service[key] = [task]
            groups.append((of_service[key], False))
            last = None
    return groups


def _asks_alone(draft: Draft, task: Task) -> tuple[object, ...] | None:
    """What a task of a one-off service asks for, if it is the only one: with others that ask for the same it is placed as if all were of one service, of which
    no node has a task. None for any other, and for one that failed lately."""
    asks, failures = draft.index.one_off_of(task), draft.index.failures
    if asks is None or (failures and (task.service_id, task.spec_version) in failures) or (asks.placement is not None and asks.placement.spread):
        return None
    return asks.placement, asks.reservations, task.id in draft.waiting


def _turn(task: Task) -> tuple[int, ServiceId, int, NodeId, str]:
    """Who waits longest comes first."""
    return task.meta.created_at_ns, task.service_id, task.slot, task.node_id, task.id


def _place_group(
    draft: Draft, service: Service, tasks: list[Task], attach: Attach, claims: Claims, *, alike: bool
) -> None:  # fmt: skip
    as_it_is = service.endpoint is None or all(t.endpoint == service.endpoint for t in tasks)
    if not as_it_is:
        tasks = [t if t.endpoint == service.endpoint else msgspec.structs.replace(t, endpoint=service.endpoint) for t in tasks]
    waits = dependencies.unmet(draft.index, service)
    if waits:
        for task in tasks:
            _wait(draft, task, PENDING, Reason(waits))
        return
    blocked = draft.index.unallocated.get(service.id) or networks_of(draft, service)
    parsed = draft.constraints_of(tasks[0].spec)
    if isinstance(blocked, str) or isinstance(parsed, str):
        why = blocked if isinstance(blocked, str) else str(parsed)
        for task in tasks:
            _wait(draft, task, NEW if isinstance(blocked, str) else PENDING, Reason(why))
        return
    ask, seal = filters.ask_of(tasks[0], parsed, service, draft.index.wish(service.id)), seal_of(draft.index, blocked)
    if alike:
        ask = filters.of_no_service(ask)
    if seal is not None:
        ask = msgspec.structs.replace(ask, sealed=seal.verdict, fits_anywhere=False)
    quiet = as_it_is and service.id not in draft.index.wishes and not update.is_under_way(service)
    assigned = TaskStatus(ASSIGNED, draft.now_ns, ASSIGNED_MESSAGE)
    slots = None if alike else draft.index.slots.of(service.id)
    group = _Group(ask, blocked, tasks[::-1], assigned, attach, slots, quiet, seal)
    if tasks[0].slot == 0:
        _place_on_own_nodes(draft, group, claims)
        return
    if ask.spread:
        _pour_spread(draft, group)
    else:
        _pour(draft, group)
    if group.tasks and not draft.full:
        reason = Reason(group.blocked) if group.blocked else explain(draft, ask)
        candidates = () if group.blocked or not _may_evict(draft.index, ask) else tuple(draft.index.classes.of(ask.static).nodes)
        for task in reversed(group.tasks):
            _wait(draft, task, PENDING, _with_room(draft, claims, task, ask, candidates, reason))


def _may_evict(index: Index, ask: Ask) -> bool:
    """Whether any service could have a lower priority."""
    return bool(index.wishes) and (ask.priority > 0 or any(wish.priority < ask.priority for wish in index.wishes.values()))


def _with_room(draft: Draft, claims: Claims, task: Task, ask: Ask, node_ids: tuple[NodeId, ...], reason: Reason) -> Reason:
    """The reason, and what is done about it."""
    words = make_room(draft, claims, task, ask, node_ids) if node_ids else ""
    return Reason(f"{reason.summary}; {words}", reason.nodes) if words else reason


def _over(draft: Draft, group: _Group) -> bool:
    """Whether there is nothing more to place, or no way to. A full plan goes on with the tasks that it made itself."""
    return not group.tasks or bool(group.blocked) or (draft.full and group.tasks[-1].id not in draft.waiting)


def _pour(draft: Draft, group: _Group) -> None:
    """Place as many of the group's tasks as fit: on the nodes with the fewest tasks as long as those have none of this service, then in the order of
    the service's own, where many go straight if there is that order. Who packs, or is alone, has one order for all."""
    index, ask = draft.index, group.ask
    nodes, order = index.classes.shared(ask)
    own = None if group.slots is None or ask.pack else OrderBy(ask.service_id, ask.load)
    if own is not None and len(group.tasks) > LOOKED_AT and nodes.has(own):
        order, own = nodes.order(own), None
    if draft.may_explain():
        group.considered = _considered(draft, ask, order.some(2 * EXPLAINED_NODES))[:EXPLAINED_NODES]
    if own is not None:
        order.give_back(_fill(draft, group, order, among=LOOKED_AT))
        if _over(draft, group):
            return
        order = nodes.order(own)
    aside = _fill(draft, group, order)
    order.give_back(aside)
    failing = [ranking.rank(index, ask, node_id, draft.now_ns) for node_id in aside]
    heapq.heapify(failing)
    while not _over(draft, group) and failing:
        node_id = failing[0][-1]
        if not filters.fits(ask, index.nodes[node_id], index.uses[node_id]):
            heapq.heappop(failing)
            continue
        _assign_next(draft, group, index.nodes[node_id], failing[0])
        heapq.heapreplace(failing, ranking.rank(index, ask, node_id, draft.now_ns))


def _fill(draft: Draft, group: _Group, order: NodeOrder, among: int | None = None) -> list[NodeId]:
    """Place tasks on the first node of the order, again and again. Gives the nodes that it took out of the order, being of no use or having failed lately; with
    `among`, nodes that have tasks of the service too, and it stops when there are so many of them."""
    index, ask, now_ns = draft.index, group.ask, draft.now_ns
    exact = order.by.service_id == ask.service_id and not index.failures  # then a place in the order is all of a rank
    aside: list[NodeId] = []
    if _over(draft, group):
        return aside
    for first in order:
        node = index.nodes[first[-1]]
        ranked = (0, *first) if exact else ranking.rank_at(index, ask, first, now_ns)
        if ranked[0] or (among is not None and ranked[1]) or not (ask.fits_anywhere or filters.fits(ask, node, index.uses[node.id])):
            order.take_out()
            aside.append(node.id)
        else:
            _assign_next(draft, group, node, ranked)
        if _over(draft, group) or len(aside) == among:
            break
    return aside


def _pour_spread(draft: Draft, group: _Group) -> None:
    """Place as many of the group's tasks as fit, evenly over the branches that its spread preferences make."""
    index, ask = draft.index, group.ask
    nodes = [index.nodes[id_] for id_ in index.classes.of(ask.static).nodes]
    suitable = {n.id: ranking.rank(index, ask, n.id, draft.now_ns)[:4] for n in nodes if filters.fits(ask, n, index.uses[n.id])}
    tree = Tree(ask.spread, nodes, {n.id: index.uses[n.id].by_service.get(ask.service_id, 0) for n in nodes}, suitable)
    if draft.may_explain():
        group.considered = _considered(draft, ask, heapq.nsmallest(EXPLAINED_NODES, suitable, key=lambda n: (suitable[n], n)))
    while not _over(draft, group) and (found := tree.root.choose()) is not None:
        ranked, node_id = found
        _assign_next(draft, group, index.nodes[node_id], (*ranked, node_id))
        if group.blocked:
            break
        fits = filters.fits(ask, index.nodes[node_id], index.uses[node_id])
        tree.placed(node_id, ranking.rank(index, ask, node_id, draft.now_ns)[:4] if fits else None)


def _place_on_own_nodes(draft: Draft, group: _Group, claims: Claims) -> None:
    """A global service's tasks: each fits its node, or waits for it."""
    index, ask = draft.index, group.ask
    for task in reversed(group.tasks):
        if draft.full and task.id not in draft.waiting:
            return
        node, use = index.nodes.get(task.node_id), index.use(task.node_id)
        if node is None:
            continue
        failed = filters.verdicts(ask, node, use)
        if failed:
            words = "; ".join(text for _, text in failed)
            reason = Reason(filters.summary({failed[0][0]: 1}), ((hostname(node), words),))
            candidates = (node.id,) if _may_evict(index, ask) and filters.suits(ask.static, node) else ()
            _wait(draft, task, PENDING, _with_room(draft, claims, task, ask, candidates, reason))
            continue
        blocked = _assign(draft, group, task, node)
        if blocked:
            _wait(draft, task, PENDING, Reason(blocked))
        else:
            draft.reasons[task.id] = Reason(f"placed on {hostname(node)}: a global service runs on every suitable node")


def _assign_next(draft: Draft, group: _Group, node: Node, ranked: Rank) -> None:
    """Give the group's next task to this node; note what blocks the group when there is no address for it."""
    task = group.tasks[-1]
    group.blocked = _assign(draft, group, task, node)
    if not group.blocked:
        group.tasks.pop()
        draft.reasons[task.id] = Placed(hostname(node), ranked, group.considered)


def _assign(draft: Draft, group: _Group, task: Task, node: Node) -> str:
    """Put the task on this node, with an address on each of its networks; or say what is missing."""
    index = draft.index
    attachments = _attachments(draft, group, task, node.id) if group.networks else ()
    if isinstance(attachments, str):
        return attachments
    asked = group.ask.generic
    assigned = msgspec.structs.replace(
        task,
        meta=draft.stamped(task.meta),
        node_id=node.id,
        networks=attachments,
        status=group.assigned,
        generic=generic.chosen(asked, node.description.resources.generic, index.use(node.id).names) if asked else (),
    )
    alone = group.slots is None or group.slots.only(task.slot) == task.id
    if not (alone and group.quiet and task.desired_state is RUNNING and draft.give_node(task, assigned)):
        draft.put(assigned)
    for attachment in attachments:
        if attachment.address:
            networks.owe(draft, node.id, attachment.network_id)
            group.attach[node.id, attachment.network_id] = None
    if group.seal is not None:
        group.seal.holders.add(node.id)
    return ""


def _attachments(draft: Draft, group: _Group, task: Task, node_id: NodeId) -> tuple[TaskNetwork, ...] | str:
    """An address on each of the group's networks; or what is missing."""
    index = draft.index
    aliases = {n.target: n.aliases for n in task.spec.networks}
    attachments: list[TaskNetwork] = []
    for network_id in group.networks:
        network = index.networks[network_id]
        address = index.addresses.next_free(network_id) if network.subnet else ""
        if address is None or (address and not networks.has_room(draft, node_id, network_id)):
            return networks.exhausted(network)
        attachments.append(TaskNetwork(network_id, address, aliases.get(network_id, ())))
    return tuple(attachments)


def _wait(draft: Draft, task: Task, state: TaskState, reason: Reason) -> None:
    """Let the task wait and say why; written only when it says something new."""
    draft.reasons[task.id] = reason
    state = max(state, task.status.state)
    if (task.status.state, task.status.err) != (state, reason.summary):
        message = PENDING_MESSAGE if state is PENDING else task.status.message
        status = TaskStatus(state, draft.now_ns, message, reason.summary)
        draft.put(msgspec.structs.replace(draft.index.tasks[task.id], status=status))


def _considered(draft: Draft, ask: Ask, node_ids: Iterable[NodeId]) -> tuple[tuple[str, str], ...]:
    """The nodes that come into question, with their ranks in words or what speaks against them now."""
    index = draft.index
    found: list[tuple[str, str]] = []
    for ranked in sorted(ranking.rank(index, ask, node_id, draft.now_ns) for node_id in node_ids):
        node = index.nodes[ranked[-1]]
        failed = () if filters.fits(ask, node, index.uses[node.id]) else filters.verdicts(ask, node, index.uses[node.id])
        found.append((hostname(node), "; ".join(text for _, text in failed) or ranking.words(ranked)))
    return tuple(found)


def explain(draft: Draft, ask: Ask) -> Reason:
    """Why no node takes a task that asks for this: Docker's sentence, and each node's verdict."""
    index = draft.index
    first: dict[int, int] = {}
    words: list[tuple[str, str]] = []
    for node in sorted(index.nodes.values(), key=lambda n: (hostname(n), n.id)):
        failed = filters.verdicts(ask, node, index.uses[node.id])
        if not failed:
            continue
        first[failed[0][0]] = first.get(failed[0][0], 0) + 1
        if len(words) < TURNED_DOWN:
            words.append((hostname(node), "; ".join(text for _, text in failed)))
    return Reason(filters.summary(first), tuple(words))
