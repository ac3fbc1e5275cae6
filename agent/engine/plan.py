"""`POST /festoon/plan`: what would come of services that nobody makes or updates (manager/preview.py). The body is {"Networks": [as for /networks/create],
"Services": [{"Spec", and of one that is to be updated "ID" and "Version"}]}."""

from __future__ import annotations

from agent.engine.answers import json_answer
from agent.engine.call import Call
from agent.engine.convert import Json
from agent.engine.convert_networks import network_request_of
from agent.engine.convert_services import service_spec_of
from agent.engine.fields import Fields
from cluster.model.errors import InvalidArgument
from cluster.wire.calls import Preview, PreviewAnswer, PreviewService, PreviewTask, ServiceWrite
from cluster.wire.http import Response


async def preview(call: Call) -> Response:
    fields = await call.fields()
    networks = tuple(network_request_of(one).spec for one in fields.objects("Networks"))
    answer = await call.node.swarm.call("control.preview", Preview(networks, tuple(_write_of(one) for one in fields.objects("Services"))))
    assert isinstance(answer, PreviewAnswer)
    return json_answer({"Settled": answer.settled, "Services": [_service_json(one) for one in answer.services]})


def _write_of(fields: Fields) -> ServiceWrite:
    spec = service_spec_of(fields.section("Spec"))
    if not spec.name:
        raise InvalidArgument("a service that is to be planned needs a name")
    return ServiceWrite(spec, fields.text("ID"), fields.integer("Version"))


def _service_json(service: PreviewService) -> Json:
    return {
        "Name": service.name,
        "ID": service.id,
        "Placed": [_task_json(task) for task in service.placed],
        "Stopped": [_task_json(task) for task in service.stopped],
        "Waiting": [_task_json(task) for task in service.waiting],
        "Kept": service.kept,
    }


def _task_json(task: PreviewTask) -> Json:
    return {"Name": task.name, "Node": task.node, "Why": task.why, "Nodes": [{"Hostname": hostname, "Verdict": verdict} for hostname, verdict in task.nodes]}
