/**
 * The result of ADD in the version asked for: what the chain's earlier plugins made, then the attachment.
 */
import type { Attachment, Attachments } from '../attachments/attachment.ts'
import type { NetworkConfig } from './network-config.ts'
import type { CniVersion } from './versions.ts'

/** A TUN has no MAC address. All zeros says so, as it does for a loopback; without any, podman 4 refuses the result. */
const NO_MAC = '00:00:00:00:00:00'

const isIPv6 = (address: string) => address.includes(':')

export function encodeResult(
  version: CniVersion,
  config: NetworkConfig,
  attachment: Attachment,
  { gateways, mtuBytes }: Pick<Attachments, 'gateways' | 'mtuBytes'>,
): string {
  const { interfaces = [], ips = [], routes = [], dns = {} } = config.prevResult ?? {}
  const own = {
    name: attachment.ifName,
    mac: NO_MAC,
    ...(version.interfacesHaveMtu && { mtu: mtuBytes }),
    sandbox: attachment.netns,
  }
  const ways = attachment.addresses.map((address) => ({
    address,
    gateway: gateways.find((gateway) => isIPv6(gateway) === isIPv6(address)),
  }))
  return JSON.stringify({
    cniVersion: version.version,
    interfaces: [...interfaces, own],
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
    dns: { ...dns, ...config.dns, ...config.wishes.dns },
  })
}
