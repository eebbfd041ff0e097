/** How this machine routes and filters by route: what keeps pods from the world, or packets from pods. */
import type { Finding } from '../../api/types.ts'
import { contains, overlap, parseCidr } from '../../config/cidr.ts'
import { NetlinkError } from '../../netlink/netlink-error.ts'
import { type Route, RTPROT_POLDER } from '../../netlink/route.ts'
import { HOST_DEVICE } from '../device-name.ts'
import { forwardingOff } from '../forwarding.ts'
import { readSysctl, showSysctl } from '../sysctl.ts'
import { type Check, error, info, warning } from './check.ts'
import { underlayAddressOf } from './nodes.ts'

export const forwarding: Check = ({ config }) =>
  familiesOf(config.podCIDRs).flatMap((family) => {
    const name = forwardingOff(family)
    if (name === undefined) return []
    return error(
      'forwarding-off',
      `this machine does not forward IPv${family} (${showSysctl(name)} is 0): pods do not reach the world`,
      config.hostSysctls === 'check'
        ? `Set it: sysctl -w ${showSysctl(name)}=1, or let polderd do it (hostSysctls: manage).`
        : `Set it: sysctl -w ${showSysctl(name)}=1. polderd, when it runs, does so itself.`,
    )
  })

/** Forwarding turns an interface's accept_ra 1 into 0: what a router gave it is forgotten when its lifetime is over. */
export const routerAdvertisements: Check = ({ netlink }) => {
  if (readSysctl('net/ipv6/conf/all/forwarding') !== '1') return []
  const given = new Set(
    netlink.addresses().flatMap(({ family, dynamic, index }) => (family === 6 && dynamic ? index : [])),
  )
  return netlink.links().flatMap(({ index, name }) => {
    const setting = `net/ipv6/conf/${name}/accept_ra`
    if (!given.has(index) || readSysctl(setting) !== '1') return []
    return warning(
      'accept-ra',
      `${name} has an IPv6 address from its router, and ignores the router now that this machine forwards: ` +
        'its default route and address go when their lifetime is over',
      `Let it listen to routers although it forwards: sysctl -w net/ipv6/conf/${name}/accept_ra=2, and for the next ` +
        'boot the same in /etc/sysctl.d.',
    )
  })
}

/** Strict reverse-path filtering drops what arrives by another way than the answer would go. */
export const reversePath: Check = ({ netlink, underlay, nodes }) => {
  if (underlay === undefined || underlay.family !== 4) return []
  const link = netlink.link(underlay.interface)
  const modes = ['all', underlay.interface].map((name) => Number(readSysctl(`net/ipv4/conf/${name}/rp_filter`) ?? 0))
  if (link === undefined || Math.max(...modes) !== 1) return []
  const astray = nodes.filter((node) => {
    const address = underlayAddressOf(node)
    if (address === undefined || address.includes(':') || address === underlay.address) return false
    return leadsElsewhere(() => netlink.routeTo(address).index, link.index)
  })
  return astray.map((node) =>
    error(
      'rp-filter',
      `what node ${node.metadata.name} sends to ${underlay.interface} is dropped: rp_filter is strict there, and the ` +
        `route back to ${underlayAddressOf(node)} leads another way`,
      `Make the route lead through ${underlay.interface}, or loosen the filter: ` +
        `sysctl -w net.ipv4.conf.${underlay.interface}.rp_filter=2`,
    ),
  )
}

/** No route at all is a way that leads nowhere. */
function leadsElsewhere(lookup: () => number, index: number): boolean {
  try {
    return lookup() !== index
  } catch (error) {
    if (error instanceof NetlinkError) return true
    throw error
  }
}

/** Routes of the host that take addresses from pods, or that pods take addresses from. */
export const rangeOverlap: Check = ({ config, netlink }) => {
  const names = new Map(netlink.links().map(({ index, name }) => [index, name]))
  return netlink.routes().flatMap((route) => {
    const name = route.index === undefined ? undefined : names.get(route.index)
    if (route.protocol === RTPROT_POLDER || name === HOST_DEVICE || route.dst.endsWith('/0')) return []
    if (route.family === 6 && /^f[ef]/.test(route.dst)) return []
    const range = config.podCIDRs.find((cidr) => overlap(parseCidr(cidr), parseCidr(route.dst)))
    return range === undefined ? [] : [overlapFinding(route, name, range)]
  })
}

function overlapFinding({ dst, via, type }: Route, name: string | undefined, range: string): Finding {
  const way = name === undefined ? type : `${via === undefined ? '' : `via ${via} `}dev ${name}`
  const isWider = contains(parseCidr(dst), parseCidr(range)) && dst !== range
  if (isWider) {
    return info(
      'range-shadows',
      `the route ${dst} ${way} holds the pod range ${range}: what lies there cannot be reached from this machine`,
      'If you need it, choose another pod range (podCIDRs) on every node.',
    )
  }
  return error(
    'range-overlap',
    `the route ${dst} ${way} overlaps with the pod range ${range}: pods with such addresses cannot be reached from here`,
    `Remove it (ip route del ${dst} ${way}), or choose another pod range (podCIDRs) on every node.`,
  )
}

function familiesOf(podCIDRs: readonly string[]): (4 | 6)[] {
  return podCIDRs.map((cidr) => parseCidr(cidr).family)
}
