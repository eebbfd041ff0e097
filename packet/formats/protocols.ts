/**
 * The protocol numbers that IPv4 (protocol) and IPv6 (next header) share: IANA's "Assigned Internet Protocol Numbers".
 * Only those that some part of the path looks at.
 */
export const PROTOCOL_HOP_BY_HOP = 0
export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_ROUTING = 43
export const PROTOCOL_FRAGMENT = 44
export const PROTOCOL_ESP = 50
export const PROTOCOL_AH = 51
export const PROTOCOL_ICMPV6 = 58
export const PROTOCOL_NO_NEXT_HEADER = 59
export const PROTOCOL_DESTINATION_OPTIONS = 60
export const PROTOCOL_SCTP = 132
