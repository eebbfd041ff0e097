/**
 * The host's routes to peers that are reached without an envelope: their pod ranges by their addresses on the underlay.
 * They are longer than the cluster's ranges on polder0, so the kernel takes them first.
 */
import type { DirectRoute } from '../control/surroundings.ts'
import type { Netlink } from '../netlink/netlink.ts'
import { RTPROT_POLDER } from '../netlink/route.ts'
import type { Mended } from './mended.ts'

/** Changes only what is not as it should be, and answers what that was. `gateways`: what the host itself sends from. */
export function bringDirectRoutes(
  netlink: Netlink,
  underlayInterface: string,
  gateways: readonly string[],
  wanted: readonly DirectRoute[],
): Mended[] {
  const link = netlink.link(underlayInterface)
  if (link === undefined) return []
  const { index } = link
  const mended: Mended[] = []
  const present = netlink.routes({ protocol: RTPROT_POLDER }).filter((route) => route.index === index)
  for (const { dst } of present.filter((route) => !wanted.some(({ dst }) => dst === route.dst))) {
    netlink.deleteRoute({ dst, index })
    mended.push({ kind: 'route', what: `${dst} dev ${underlayInterface}, not direct any more, removed` })
  }
  for (const { dst, via } of wanted) {
    if (present.some((route) => route.dst === dst && route.via === via)) continue
    const src = gateways.find((gateway) => gateway.includes(':') === dst.includes(':'))
    netlink.replaceRoute({ dst, via, index, ...(src !== undefined && { src }) })
    mended.push({ kind: 'route', what: `${dst} via ${via} dev ${underlayInterface}` })
  }
  return mended
}
