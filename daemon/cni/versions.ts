/**
 * The versions of the CNI specification polder speaks, and all that differs between them. The shim answers VERSION
 * alone and holds the same list (cni-plugin/polder-cni.c); a test compares the two.
 */
export interface CniVersion {
  version: string
  commands: readonly string[]
  /** `ips` entries carry `"version": "4"` or `"6"`. */
  ipsNameTheirFamily: boolean
  /** `interfaces` entries carry `"mtu"`. */
  interfacesHaveMtu: boolean
}

const EVER = ['ADD', 'DEL', 'VERSION']
const CHECKS = [...EVER, 'CHECK']

export const CNI_VERSIONS: readonly CniVersion[] = [
  { version: '0.3.1', commands: EVER, ipsNameTheirFamily: true, interfacesHaveMtu: false },
  { version: '0.4.0', commands: CHECKS, ipsNameTheirFamily: true, interfacesHaveMtu: false },
  { version: '1.0.0', commands: CHECKS, ipsNameTheirFamily: false, interfacesHaveMtu: false },
  { version: '1.1.0', commands: [...CHECKS, 'GC', 'STATUS'], ipsNameTheirFamily: false, interfacesHaveMtu: true },
]

export const NEWEST_CNI_VERSION = CNI_VERSIONS.at(-1)!

export function versionNamed(version: string): CniVersion | undefined {
  return CNI_VERSIONS.find((known) => known.version === version)
}
