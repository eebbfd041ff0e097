/**
 * Why a packet was not delivered: one table, code -> name -> text. The path answers with a code and never throws for
 * what a packet contains; counters are kept by code; people read the name and the text. `quiet` reasons are the
 * ordinary noise of a network (router solicitations of a new pod, say) and never an alarm.
 *
 * Codes are positions in this table and part of no interface: names are.
 */
export const DROP_MALFORMED_IP = 1
export const DROP_BAD_HEADER_CHECKSUM = 2
export const DROP_MALFORMED_TRANSPORT = 3
export const DROP_MALFORMED_VXLAN = 4
export const DROP_WRONG_VNI = 5
export const DROP_UNKNOWN_PEER = 6
export const DROP_NOT_IP = 7
export const DROP_LINK_LOCAL = 8
export const DROP_MULTICAST = 9
export const DROP_MARTIAN = 10
export const DROP_SPOOFED_POD = 11
export const DROP_SPOOFED_PEER = 12
export const DROP_SPOOFED_HOST = 13
export const DROP_TTL_EXPIRED = 14
export const DROP_NO_SUCH_POD = 15
export const DROP_NO_ROUTE = 16
export const DROP_NO_TRANSIT = 17
export const DROP_TOO_BIG = 18
export const DROP_SOCKET_FULL = 19
export const DROP_UNDERLAY_TOO_BIG = 20
export const DROP_PEER_UNREACHABLE = 21
export const DROP_DEVICE_REFUSED = 22
export const DROP_BAD_OFFLOAD = 23
export const DROP_CONGESTION = 24
export const DROP_POISON = 25
export const DROP_FLOW_TABLE_FULL = 26
export const DROP_NO_ENDPOINT = 27
export const DROP_NO_LOCAL_ENDPOINT = 28
export const DROP_NO_SUCH_SERVICE = 29
export const DROP_NO_SUCH_SERVICE_PORT = 30
export const DROP_ENDPOINT_GONE = 31
export const DROP_SOURCE_NOT_ALLOWED = 32
export const DROP_NO_FREE_PORT = 33

/** What the sender is told of it, by ICMP, or `refused` by a reset where it speaks TCP (answer.ts). */
export type Answer = 'time-exceeded' | 'no-route' | 'host-unreachable' | 'too-big' | 'refused'

export interface DropReason {
  readonly name: string
  readonly text: string
  readonly quiet?: true
  readonly answer?: Answer
}

const reason = (name: string, text: string): DropReason => ({ name, text })
const quiet = (name: string, text: string): DropReason => ({ name, text, quiet: true })
const answered = (name: string, answer: Answer, text: string): DropReason => ({ name, text, answer })

export const DROP_REASONS: readonly DropReason[] = [
  reason('none', 'not dropped'),
  reason('malformed-ip', 'the IP header is cut short or contradicts itself'),
  reason('bad-header-checksum', 'the IPv4 header checksum is wrong'),
  reason('malformed-transport', 'the TCP, UDP, SCTP or ICMP header is cut short or contradicts itself'),
  reason('malformed-vxlan', 'the datagram from the underlay is no VXLAN packet with an Ethernet frame inside'),
  reason('wrong-vni', 'the VXLAN network identifier is not ours'),
  reason('unknown-peer', 'no node of the cluster has the underlay address this VXLAN packet came from'),
  reason('not-ip', 'the inner frame is neither IPv4 nor IPv6'),
  quiet('link-local', 'link-local traffic, such as router solicitation, ends at the pod'),
  quiet('multicast', 'multicast and broadcast are not carried'),
  reason('martian', 'an address that must never be on a network: loopback, unspecified or reserved'),
  reason('spoofed-pod', "the source is not one of the sending pod's own addresses"),
  reason('spoofed-peer', 'the source does not belong to the node that sent it'),
  reason('spoofed-host', 'the host sent with a source address that belongs to a pod or to another node'),
  answered('ttl-expired', 'time-exceeded', 'the TTL or hop limit ran out'),
  answered('no-such-pod', 'host-unreachable', "the address is in this node's pod range, but no pod has it"),
  answered('no-route', 'no-route', 'the address is in the cluster pod range, but no node has that part of it'),
  reason('no-transit', 'a peer sent a packet that is not for this node'),
  answered('too-big', 'too-big', 'the packet is larger than the next hop can take'),
  reason('socket-full', "the underlay socket's buffer was full"),
  reason('underlay-too-big', 'the encapsulated packet is larger than the path to the peer can take'),
  reason('peer-unreachable', 'the kernel has no way to the peer, or refused to send'),
  reason('device-refused', "the device is down or gone, or its namespace's stack refused the packet"),
  reason('bad-offload', 'the offload state of the packet contradicts its headers'),
  reason('congestion', 'the underlay marked congestion on a packet whose sender cannot be told (RFC 6040)'),
  reason('poison', 'the data-path worker died of it twice: it is kept in a file'),
  reason('flow-table-full', 'the flow table, full of flows that are assured, has no room for a new one'),
  answered('no-endpoint', 'refused', 'the service has no endpoint that is ready'),
  reason('no-local-endpoint', 'the service has no ready endpoint on this node, and its traffic policy is Local'),
  reason('no-such-service', 'the address is in the service range, but no service has it'),
  answered('no-such-service-port', 'refused', 'the service has no such port'),
  answered('endpoint-gone', 'refused', 'the endpoint that the connection was with is gone'),
  reason('source-not-allowed', 'the source is in none of the loadBalancerSourceRanges of the service'),
  reason('no-free-port', 'no source port is left by which the answers could be told from those of other connections'),
]
