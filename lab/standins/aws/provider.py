"""
A resource provider that the real Pulumi engine attaches to (``PULUMI_DEBUG_PROVIDERS=aws:PORT``) in the place of AWS.

Stands in for: ``pulumi-resource-aws`` and the account behind it. Checks inputs against the installed SDK (``sdk``),
keeps what was created in a file (``cloud``), knows ids and replacements of the types used (``rules``).
Cannot show: whether AWS accepts a value, whether there is capacity, and that anything created works.

``python -m lab.standins.aws.provider FILE`` prints its port, and ends when its standard input does, so with its parent.
"""

# ruff: noqa: N802, ARG002 (the methods are those of a gRPC service)
from __future__ import annotations

import hashlib
import sys
import threading
from concurrent import futures
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from lab.standins.aws import rules, sdk
from lab.standins.aws.cloud import Cloud, InUse, Refused, Resource

SDK_VERSION = version("pulumi-aws")
DEFAULTS = "__defaults"  # inputs that the provider chose, not the program: the real provider keeps the same list


class StandIn(provider_pb2_grpc.ResourceProviderServicer):
    """One call at a time: a cloud that is a file needs no more."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.region = ""
        self.turn = threading.Lock()

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=SDK_VERSION)

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        old, new = _dict(request.olds), _dict(request.news)
        return _difference([name for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)])

    def Configure(self, request: Any, context: Any) -> Any:
        self.region = _dict(request.args).get("region", "")
        return provider_pb2.ConfigureResponse(supportsPreview=True, supports_autonaming_configuration=True)

    def Check(self, request: Any, context: Any) -> Any:
        old, new = _dict(request.olds), _dict(request.news)
        try:
            wrong = sdk.problems(request.type, new)
        except sdk.UnknownType:
            wrong = [
                (
                    "",
                    f"the installed pulumi_aws {SDK_VERSION} has no resource type {request.type}",
                )
            ]
        if wrong:
            return provider_pb2.CheckResponse(
                failures=[provider_pb2.CheckFailure(property=path, reason=f"{path}: {why}") for path, why in wrong]
            )
        name = rules.NAME_PROPERTY.get(request.type, "name")
        kind, required = sdk.inputs(request.type).get(name, (None, True))
        if sdk.scalar(kind) is str and not required and name not in new:
            new |= {
                name: old.get(name) or request.autonaming.proposed_name,
                DEFAULTS: [name],
            }
        return provider_pb2.CheckResponse(inputs=_struct(new))

    def Diff(self, request: Any, context: Any) -> Any:
        old, new = _dict(request.old_inputs), _dict(request.news)
        ignored = {DEFAULTS, *request.ignoreChanges}
        changed = sorted(name for name in (old.keys() | new.keys()) - ignored if old.get(name) != new.get(name))
        replaces = [name for name in changed if name in rules.REPLACING.get(request.type, ())]
        # Two things cannot bear one name: a replacement comes first unless the program itself gave the name.
        name = rules.NAME_PROPERTY.get(request.type, "name")
        named_by_program = name in new and name not in new.get(DEFAULTS, ()) and name not in replaces
        return _difference(changed, replaces, delete_first=bool(replaces) and named_by_program)

    def Create(self, request: Any, context: Any) -> Any:
        given = _dict(request.properties)
        if request.preview:  # what AWS will add is unknown yet
            return provider_pb2.CreateResponse(properties=request.properties)
        with self.turn:
            try:
                self.cloud.admit(request.type, request.name)
                self._admit_zones(request.type, given)
            except Refused as reason:
                context.abort(grpc.StatusCode.UNKNOWN, str(reason))
            made = self._make(request.type, request.name, given)
            self.cloud.put(made)
        return provider_pb2.CreateResponse(id=made.id, properties=_struct(made.outputs))

    def Read(self, request: Any, context: Any) -> Any:
        with self.turn:
            found = self.cloud.find(request.type, request.id)
        if found is None:  # an empty answer means: gone
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=found.id,
            properties=_struct(found.outputs | found.inputs),
            inputs=_struct(found.inputs),
        )

    def Update(self, request: Any, context: Any) -> Any:
        old, new = _dict(request.olds), _dict(request.news)
        gone = _dict(request.old_inputs).keys() - new.keys()
        outputs = {name: value for name, value in old.items() if name not in gone} | new
        if "latestVersion" in old:  # a launch template counts its changes, and who reads the count must see it move
            outputs["latestVersion"] = sdk.UNKNOWN if request.preview else old["latestVersion"] + 1
        if not request.preview:
            with self.turn:
                if self.cloud.find(request.type, request.id) is None:
                    context.abort(
                        grpc.StatusCode.NOT_FOUND,
                        f"{request.type} {request.id} does not exist",
                    )
                try:
                    self._admit_zones(request.type, new, _dict(request.old_inputs))
                except Refused as reason:
                    context.abort(grpc.StatusCode.UNKNOWN, str(reason))
                self.cloud.put(Resource(request.id, request.type, request.name, new, outputs))
        return provider_pb2.UpdateResponse(properties=_struct(outputs))

    def Delete(self, request: Any, context: Any) -> Any:
        with self.turn:
            try:
                self.cloud.remove(request.type, request.id)
            except InUse as reason:
                context.abort(grpc.StatusCode.UNKNOWN, str(reason))
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        answer = rules.LOOKUPS.get(request.tok)
        if answer is None:
            context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the stand-in has no answer to the look-up {request.tok}",
            )
        fields: Any = {"return": _struct(_dict(request.args) | answer)}  # a word that Python keeps for itself
        return provider_pb2.InvokeResponse(**fields)

    def _admit_zones(self, kind: str, new: dict[str, Any], old: dict[str, Any] | None = None) -> None:
        """Raises ``Refused`` for zones that EKS gives no control plane, and for any change of a cluster's zones."""
        if kind != "aws:eks/cluster:Cluster":
            return
        zones = self._zones(new)
        if len(zones) < 2 or zones & rules.NO_CONTROL_PLANE:
            raise Refused(f"UnsupportedAvailabilityZoneException: no control plane in {sorted(zones)}")
        if old is not None and zones != self._zones(old):
            raise Refused(f"InvalidParameterException: zones {sorted(self._zones(old))} cannot become {sorted(zones)}")

    def _zones(self, cluster: dict[str, Any]) -> set[str]:
        subnets = [self.cloud.find("aws:ec2/subnet:Subnet", one) for one in cluster["vpcConfig"]["subnetIds"]]
        return {one.inputs["availabilityZoneId"] for one in subnets if one is not None}

    def _make(self, kind: str, name: str, given: dict[str, Any]) -> Resource:
        """What AWS would return: what was given, an id, an ARN, and a made-up value for every other scalar."""
        made_up = hashlib.sha256(f"{kind} {name} {self.cloud.serial()}".encode()).hexdigest()[:17]
        service, short = kind.split(":")[1].split("/")[0], kind.split(":")[2]
        words = {key: value for key, value in given.items() if isinstance(value, str)}
        words |= {"hash": made_up, "account": rules.ACCOUNT, "region": self.region}
        identifier = rules.IDS.get(kind, short.lower() + "-{hash}").format(**words)
        fillers: dict[type, Any] = {
            str: f"{short.lower()}-{made_up}",
            int: 1,
            float: 1.0,
            bool: False,
        }
        filled = {key: fillers[plain] for key, of in sdk.outputs(kind).items() if (plain := sdk.scalar(of)) is not None}
        if "arn" in filled:
            default = f"arn:aws:{service}:{{region}}:{{account}}:{short.lower()}/{{id}}"
            filled["arn"] = rules.ARNS.get(kind, default).format(**words | {"id": identifier})
        return Resource(identifier, kind, name, given, filled | given)


def _dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    return json_format.MessageToDict(struct)


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def _difference(changed: list[str], replaces: list[str] | None = None, delete_first: bool = False) -> Any:
    some, none = (
        provider_pb2.DiffResponse.DIFF_SOME,
        provider_pb2.DiffResponse.DIFF_NONE,
    )
    return provider_pb2.DiffResponse(
        changes=some if changed else none,
        diffs=changed,
        replaces=replaces or [],
        deleteBeforeReplace=delete_first,
    )


def serve(cloud: Cloud) -> tuple[grpc.Server, int]:
    """A running server on a free port of this machine, and that port."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(StandIn(cloud), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def main() -> None:
    server, port = serve(Cloud(Path(sys.argv[1])))
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None).wait()


if __name__ == "__main__":
    main()
