"""Placing: tasks that wait get a node and addresses, or a reason why not.

Owns the choice of nodes and the words for it; writes tasks into the draft. Tasks are placed in groups of one
service and spec version: nodes come out of their class's heap by number of tasks, those with none of this service
take one each, and what remains is poured over the others, always into the lowest. Global services' tasks have their
node already.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from cluster.model.changes import Kind
from cluster.model.ids import NetworkId, NodeId, ServiceId, TaskId
from cluster.model.objects import Service, Task, TaskNetwork, TaskStatus
from cluster.model.room_reasons import is_room_coming
from cluster.model.task_state import ASSIGNED, NEW, PENDING, RUNNING, TaskState
from manager.allocator import networks
from manager.allocator.endpoints import networks_of
from manager.draft import Draft, Reason
from manager.index import Index
from manager.orchestrator import dependencies
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
"""Tasks that had waited before, which are tried together: more than one plan holds."""

LOOKED_AT: Final = 32
"""Nodes with few tasks that are looked at for one that has none of the service, before the service gets an order of its own."""


class _Group(msgspec.Struct):
    """The tasks of one service and spec version that wait, and what they need."""

    service: Service
    ask: Ask
    networks: tuple[NetworkId, ...]
    tasks: list[Task]  # not yet placed, the next one last
    considered: tuple[tuple[str, str], ...] = ()
    seal: Seal | None = None
    quiet: bool = False  # whether nothing of the service is under way to which it matters that its tasks get a node
    blocked: str = ""  # why no further task can be placed, whatever the node


def place(draft: Draft) -> None:
    """Find a node for every task that waits: the new ones and, when something was freed, those that waited before."""
    index, agenda = draft.index, draft.index.agenda
    if agenda.retry_pending:
        agenda.retry_pending = False
        agenda.retry.update(index.pending)
    attach: dict[tuple[NodeId, NetworkId], None] = {}
    claims, placed = Claims(), list[TaskId]()
    try:
        waited = iter(_by_priority(index) if index.wishes else agenda.retry)  # no copy of what may be a million
        batch = [*draft.waiting, *_next(draft, waited, placed)]
        while batch:
            _place_all(draft, dict.fromkeys(batch), attach, claims)
            if draft.full:
                break
            draft.tried.extend(id_ for id_ in batch if id_ in agenda.retry)
            batch = _next(draft, waited, placed)
    finally:
        claims.undo()
    for id_ in placed:
        agenda.retry.pop(id_, None)
    for node_id, network_id in attach:
        networks.attach(draft, node_id, network_id)


def _next(draft: Draft, waited: Iterator[TaskId], placed: list[TaskId]) -> list[TaskId]:
    """The next BATCH of those that still wait; what the store says to have been placed meanwhile needs no more looking at (`placed`)."""
    index, found = draft.index, list[TaskId]()
    for id_ in waited:
        if id_ in index.pending:
            found.append(id_)
            if len(found) == BATCH:
                break
        elif not index.is_intended(Kind.TASK, id_):
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


def _place_all(draft: Draft, task_ids: Iterable[TaskId], attach: dict[tuple[NodeId, NetworkId], None], claims: Claims) -> None:
    """Find a node for each of these that waits, the highest priority first."""
    index = draft.index
    groups: dict[tuple[ServiceId, int], list[Task]] = {}
    waiting = sorted((index.tasks[id_] for id_ in task_ids if id_ in index.pending), key=_turn)
    if index.wishes:
        waiting.sort(key=lambda task: -index.wish(task.service_id).priority)
    for task in waiting:
        groups.setdefault((task.service_id, task.spec_version), []).append(task)
    for (service_id, _), tasks in groups.items():
        service = index.services.get(service_id)
        if service is not None and (not draft.full or any(task.id in draft.waiting for task in tasks)):
            _place_group(draft, service, tasks, attach, claims)


def _turn(task: Task) -> tuple[int, ServiceId, int, NodeId, str]:
    """Who waits longest comes first."""
    return task.meta.created_at_ns, task.service_id, task.slot, task.node_id, task.id


def _place_group(
    draft: Draft, service: Service, tasks: list[Task], attach: dict[tuple[NodeId, NetworkId], None], claims: Claims
) -> None:
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
    if seal is not None:
        ask = msgspec.structs.replace(ask, sealed=seal.verdict, fits_anywhere=False)
    quiet = as_it_is and service.id not in draft.index.wishes and not (service.update_status is not None and service.update_status.is_under_way)
    group = _Group(service, ask, blocked, tasks[::-1], seal=seal, quiet=quiet)
    if tasks[0].slot == 0:
        _place_on_own_nodes(draft, group, attach, claims)
        return
    placed = _pour_spread(draft, group) if ask.spread else _pour(draft, group)
    for task, node_id in placed:
        _note_attachments(draft, task, node_id, attach)
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


def _note_attachments(
    draft: Draft, task: Task, node_id: NodeId, attach: dict[tuple[NodeId, NetworkId], None]
) -> None:
    for network in task.networks:
        if network.address:
            attach[node_id, network.network_id] = None


def _over(draft: Draft, group: _Group) -> bool:
    """Whether there is nothing more to place, or no way to. A full plan goes on with the tasks that it made itself."""
    if not group.tasks or group.blocked:
        return True
    return draft.full and group.tasks[-1].id not in draft.waiting


def _pour(draft: Draft, group: _Group) -> list[tuple[Task, NodeId]]:
    """Place as many of the group's tasks as fit: on the nodes with the fewest tasks as long as those have none of this service, then in the order of
    the service's own. Who packs has one order for all."""
    index, ask = draft.index, group.ask
    nodes, shared = index.classes.shared(ask)
    if draft.may_explain():
        group.considered = _considered(draft, ask, shared.some(2 * EXPLAINED_NODES))[:EXPLAINED_NODES]
    placed: list[tuple[Task, NodeId]] = []
    order = shared
    if not ask.pack:
        shared.give_back(_fill(draft, group, shared, placed, lambda ranked: bool(ranked[0] or ranked[1]), LOOKED_AT))
        if _over(draft, group):
            return placed
        order = nodes.order(OrderBy(ask.service_id, ask.load))
    aside = _fill(draft, group, order, placed, lambda ranked: bool(ranked[0]), None)
    order.give_back(aside)
    failing = [ranking.rank(index, ask, node_id, draft.now_ns) for node_id in aside]
    heapq.heapify(failing)
    while not _over(draft, group) and failing:
        node_id = failing[0][-1]
        if not filters.fits(ask, index.nodes[node_id], index.uses[node_id]):
            heapq.heappop(failing)
            continue
        _assign_next(draft, group, node_id, failing[0], placed)
        heapq.heapreplace(failing, ranking.rank(index, ask, node_id, draft.now_ns))
    return placed


def _fill(
    draft: Draft, group: _Group, order: NodeOrder, placed: list[tuple[Task, NodeId]], passes_over: Callable[[Rank], bool], limit: int | None
) -> list[NodeId]:  # fmt: skip
    """Place tasks on the first node of the order, again and again. Gives the nodes that it took out of the order, being of no use or passed over;
    stops when there are `limit` of them."""
    index, ask = draft.index, group.ask
    aside: list[NodeId] = []
    while not _over(draft, group) and (limit is None or len(aside) < limit) and (first := order.first()) is not None:
        node_id = first[-1]
        ranked = ranking.rank_at(index, ask, first, draft.now_ns)
        if passes_over(ranked) or not filters.fits(ask, index.nodes[node_id], index.uses[node_id]):
            order.take_out()
            aside.append(node_id)
        else:
            _assign_next(draft, group, node_id, ranked, placed)
    return aside


def _pour_spread(draft: Draft, group: _Group) -> list[tuple[Task, NodeId]]:
    """Place as many of the group's tasks as fit, evenly over the branches that its spread preferences make."""
    index, ask = draft.index, group.ask
    nodes = [index.nodes[id_] for id_ in index.classes.of(ask.static).nodes]
    suitable = {n.id: ranking.rank(index, ask, n.id, draft.now_ns)[:4] for n in nodes if filters.fits(ask, n, index.uses[n.id])}
    tree = Tree(ask.spread, nodes, {n.id: index.uses[n.id].by_service.get(ask.service_id, 0) for n in nodes}, suitable)
    if draft.may_explain():
        group.considered = _considered(draft, ask, heapq.nsmallest(EXPLAINED_NODES, suitable, key=lambda n: (suitable[n], n)))
    placed: list[tuple[Task, NodeId]] = []
    while not _over(draft, group) and (found := tree.root.choose()) is not None:
        ranked, node_id = found
        _assign_next(draft, group, node_id, (*ranked, node_id), placed)
        if group.blocked:
            break
        fits = filters.fits(ask, index.nodes[node_id], index.uses[node_id])
        tree.placed(node_id, ranking.rank(index, ask, node_id, draft.now_ns)[:4] if fits else None)
    return placed


def _place_on_own_nodes(draft: Draft, group: _Group, attach: dict[tuple[NodeId, NetworkId], None], claims: Claims) -> None:
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
        assigned = _assign(draft, group, task, node.id)
        if isinstance(assigned, str):
            _wait(draft, task, PENDING, Reason(assigned))
            continue
        draft.reasons[task.id] = Reason(f"placed on {hostname(node)}: a global service runs on every suitable node")
        _note_attachments(draft, assigned, node.id, attach)


def _assign_next(
    draft: Draft, group: _Group, node_id: NodeId, ranked: Rank, placed: list[tuple[Task, NodeId]]
) -> None:
    """Give the group's next task to this node; note what blocks the group when there is no address for it."""
    task = group.tasks[-1]
    assigned = _assign(draft, group, task, node_id)
    if isinstance(assigned, str):
        group.blocked = assigned
        return
    group.tasks.pop()
    placed.append((assigned, node_id))
    name = hostname(draft.index.nodes[node_id])
    draft.reasons[task.id] = Placed(name, ranked, group.considered)


def _assign(draft: Draft, group: _Group, task: Task, node_id: NodeId) -> Task | str:
    """The task on this node, with an address on each of its networks; or what is missing."""
    index = draft.index
    attachments = _attachments(draft, group, task, node_id) if group.networks else ()
    if isinstance(attachments, str):
        return attachments
    assigned = msgspec.structs.replace(
        task,
        meta=draft.stamped(task.meta),
        node_id=node_id,
        networks=attachments,
        status=TaskStatus(ASSIGNED, draft.now_ns, ASSIGNED_MESSAGE),
        generic=generic.chosen(asked, index.nodes[node_id].description.resources.generic, index.use(node_id).names) if (asked := group.ask.generic) else (),
    )
    if _is_all(draft, group, assigned):
        index.note_placed(assigned.id)
    draft.put(assigned)
    for attachment in attachments:
        if attachment.address:
            networks.owe(draft, node_id, attachment.network_id)
    if group.seal is not None:
        group.seal.holders.add(node_id)
    return assigned


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


def _is_all(draft: Draft, group: _Group, task: Task) -> bool:
    """Whether the plan does nothing with the task and its slot but to give it a node, and need not look there again when it has it."""
    index = draft.index
    if not group.quiet or task.desired_state is not RUNNING or draft.has_put(task.id):
        return False
    return index.slots.of(task.service_id).only(task.slot) == task.id


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
