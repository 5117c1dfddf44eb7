"""The network: one private and one public subnet in every zone, one NAT gateway, and S3 without going through it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws


@dataclass(frozen=True)
class NetworkArgs:
    """*zone_ids* are availability-zone ids (``use1-az4``): the same place in every account, unlike zone names."""

    cidr: str
    region: str
    zone_ids: tuple[str, ...]


@dataclass(frozen=True)
class SubnetPair:
    """The ranges of one zone. They follow from the zone's own number, so adding a zone moves no other."""

    private: str
    public: str


def subnet_pair(cidr: str, zone_id: str) -> SubnetPair:
    """
    A sixteenth of *cidr* from its lower half for machines, a 256th from its upper half for load balancers and NAT.

    Zones are numbered 1 to 8 at the end of their id, so eight pairs fit side by side.
    """
    place = int(zone_id[-1]) - 1
    network = ipaddress.IPv4Network(cidr)
    private = list(network.subnets(prefixlen_diff=4))[place]
    public = list(network.subnets(prefixlen_diff=8))[128 + place]
    return SubnetPair(str(private), str(public))


class Network(pulumi.ComponentResource):
    """Outputs: ``vpc_id``, and ``private_subnet_ids`` by zone id."""

    vpc_id: pulumi.Output[str]
    private_subnet_ids: dict[str, pulumi.Output[str]]

    def __init__(self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("qwen:aws:Network", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        vpc = aws.ec2.Vpc(
            name,
            cidr_block=args.cidr,
            enable_dns_hostnames=True,
            enable_dns_support=True,
            tags={"Name": name},
            opts=child,
        )
        internet = aws.ec2.InternetGateway(name, vpc_id=vpc.id, opts=child)
        public_routes = aws.ec2.RouteTable(
            f"{name}-public",
            vpc_id=vpc.id,
            routes=[{"cidr_block": "0.0.0.0/0", "gateway_id": internet.id}],
            opts=child,
        )
        public, private = {}, {}
        for zone in args.zone_ids:
            pair = subnet_pair(args.cidr, zone)
            public[zone] = aws.ec2.Subnet(
                f"{name}-public-{zone}",
                vpc_id=vpc.id,
                availability_zone_id=zone,
                cidr_block=pair.public,
                tags={"Name": f"{name}-public-{zone}", "kubernetes.io/role/elb": "1"},
                opts=child,
            )
            private[zone] = aws.ec2.Subnet(
                f"{name}-private-{zone}",
                vpc_id=vpc.id,
                availability_zone_id=zone,
                cidr_block=pair.private,
                tags={"Name": f"{name}-private-{zone}", "kubernetes.io/role/internal-elb": "1"},
                opts=child,
            )
            aws.ec2.RouteTableAssociation(
                f"{name}-public-{zone}", subnet_id=public[zone].id, route_table_id=public_routes.id, opts=child
            )
        # One gateway for all zones: images and weights from the Hub pass through it once a node; S3 does not.
        address = aws.ec2.Eip(name, domain="vpc", opts=pulumi.ResourceOptions(parent=self, depends_on=[internet]))
        nat = aws.ec2.NatGateway(name, allocation_id=address.id, subnet_id=public[args.zone_ids[0]].id, opts=child)
        private_routes = aws.ec2.RouteTable(
            f"{name}-private",
            vpc_id=vpc.id,
            routes=[{"cidr_block": "0.0.0.0/0", "nat_gateway_id": nat.id}],
            opts=child,
        )
        for zone in args.zone_ids:
            aws.ec2.RouteTableAssociation(
                f"{name}-private-{zone}", subnet_id=private[zone].id, route_table_id=private_routes.id, opts=child
            )
        aws.ec2.VpcEndpoint(
            f"{name}-s3",
            vpc_id=vpc.id,
            service_name=f"com.amazonaws.{args.region}.s3",
            vpc_endpoint_type="Gateway",
            route_table_ids=[private_routes.id],
            opts=child,
        )
        self.vpc_id = vpc.id
        self.private_subnet_ids = {zone: subnet.id for zone, subnet in private.items()}
        self.register_outputs({"vpcId": self.vpc_id, "privateSubnetIds": self.private_subnet_ids})
