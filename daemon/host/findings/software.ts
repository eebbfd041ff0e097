/** What polder finds, or does not, of other software on this machine and of the kernel's abilities. */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Finding } from '../../api/types.ts'
import { LIST_NAME } from '../../cni/conflist.ts'
import { OFFLOAD_TUN_USO, OFFLOAD_UDP_GRO, OFFLOAD_UDP_SEGMENT } from '../../nic/nic.ts'
import { noTun } from '../host-device.ts'
import { type Check, error, info } from './check.ts'

/** Container runtimes take the first file by name, and no other. */
export const cniShadowed: Check = ({ config }) => {
  const first = configurationsIn(config.cniConfDir)[0]
  if (first === undefined || first >= LIST_NAME) return []
  return [
    error(
      'cni-shadowed',
      `${join(config.cniConfDir, first)} sorts before ${LIST_NAME}: the container runtime takes that one, and new pods do not join polder`,
      `Move it away, or give it a name that sorts after ${LIST_NAME}.`,
    ),
  ]
}

function configurationsIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => /\.(conf|conflist|json)$/.test(name))
      .sort()
  } catch {
    return []
  }
}

export const tunMissing: Check = () => {
  if (existsSync('/dev/net/tun')) return []
  const { code, message, remedy } = noTun()
  return [error(code, message, remedy)]
}

/** `offloads`: bits of what the kernel can (probeOffloads). */
export function offloadsMissing(offloads: number): Finding[] {
  const missing = [
    [OFFLOAD_UDP_SEGMENT, 'UDP_SEGMENT (Linux 4.18)'],
    [OFFLOAD_UDP_GRO, 'UDP_GRO (Linux 5.0)'],
    [OFFLOAD_TUN_USO, 'USO on TUN devices (Linux 6.2)'],
  ] as const
  const names = missing.flatMap(([bit, name]) => ((offloads & bit) === 0 ? name : []))
  if (names.length === 0) return []
  return [
    info(
      'offloads',
      `this kernel lacks ${names.join(', ')}: all works, with more work for each packet`,
      'A newer kernel makes pods faster.',
    ),
  ]
}
