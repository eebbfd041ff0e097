/**
 * The result of ADD in the version asked for: what the chain's earlier plugins made, then the attachment. A TUN has no
 * MAC address, so the interface has no `mac`.
 */
import type { Attachment } from '../attachments/attachment.ts'
import type { NetworkConfig } from './network-config.ts'
import type { CniVersion } from './versions.ts'

const isIPv6 = (address: string) => address.includes(':')

export function encodeResult(
  version: CniVersion,
  config: NetworkConfig,
  attachment: Attachment,
  gateways: string[],
): string {
  const { interfaces = [], ips = [], routes = [], dns = {} } = config.prevResult ?? {}
  const ways = attachment.addresses.map((address) => ({
    address,
    gateway: gateways.find((gateway) => isIPv6(gateway) === isIPv6(address)),
  }))
  return JSON.stringify({
    cniVersion: version.version,
    interfaces: [...interfaces, { name: attachment.ifName, sandbox: attachment.netns }],
    ips: [
      ...ips,
      ...ways.map(({ address, gateway }) => ({
        ...(version.ipsNameTheirFamily && { version: isIPv6(address) ? '6' : '4' }),
        interface: interfaces.length,
        address: `${address}/${isIPv6(address) ? 128 : 32}`,
        gateway,
      })),
    ],
    routes: [
      ...routes,
      ...ways.map(({ address, gateway }) => ({ dst: isIPv6(address) ? '::/0' : '0.0.0.0/0', gw: gateway })),
    ],
    dns: { ...dns, ...config.dns },
  })
}
