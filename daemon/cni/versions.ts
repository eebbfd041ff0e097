/**
 * The versions of the CNI specification polder speaks, and all that differs between them. The shim answers VERSION
 * alone and holds the same list (cni-plugin/polder-cni.c); a test compares the two.
 */
export interface CniVersion {
  version: string
  commands: readonly string[]
  /** `ips` entries carry `"version": "4"` or `"6"`. */
  ipsNameTheirFamily: boolean
}

export const CNI_VERSIONS: readonly CniVersion[] = [
  { version: '0.3.1', commands: ['ADD', 'DEL', 'VERSION'], ipsNameTheirFamily: true },
  { version: '0.4.0', commands: ['ADD', 'DEL', 'CHECK', 'VERSION'], ipsNameTheirFamily: true },
  { version: '1.0.0', commands: ['ADD', 'DEL', 'CHECK', 'VERSION'], ipsNameTheirFamily: false },
]

export const NEWEST_CNI_VERSION = CNI_VERSIONS.at(-1)!

export function versionNamed(version: string): CniVersion | undefined {
  return CNI_VERSIONS.find((known) => known.version === version)
}
