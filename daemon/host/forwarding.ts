/**
 * Forwarding, which a pod's way into the world needs: from polder0 to the interface that leads there. Turned on for the
 * families of the pod network, and first, where IPv6 forwarding was off, what would be lost by it: an interface that
 * takes router advertisements (accept_ra 1) forgets them, default route and all, unless it takes them as a router too
 * (accept_ra 2). What was on already is an administrator's choice, and its accept_ra stays (findings/ looks at it).
 */
import { PolderError } from '../errors.ts'
import type { Mended } from './mended.ts'
import { interfacesWithSysctls, readSysctl, showSysctl, writeSysctl } from './sysctl.ts'

const FORWARDING = { 4: 'net/ipv4/ip_forward', 6: 'net/ipv6/conf/all/forwarding' } as const

/** The setting that forwarding of this family waits for; undefined where it is on, or the kernel lacks the family. */
export function forwardingOff(family: 4 | 6): string | undefined {
  const name = FORWARDING[family]
  return readSysctl(name) === '0' ? name : undefined
}

/** Turns it on where it is off; answers what it changed. */
export function bringForwarding(families: readonly (4 | 6)[]): Mended[] {
  const mended: Mended[] = []
  for (const family of families) {
    const name = forwardingOff(family)
    if (name === undefined) continue
    if (family === 6) keepAdvertisements(mended)
    set(name, '1', mended)
  }
  return mended
}

function keepAdvertisements(mended: Mended[]): void {
  for (const name of ['default', ...interfacesWithSysctls(6)]) {
    const setting = `net/ipv6/conf/${name}/accept_ra`
    if (name !== 'lo' && readSysctl(setting) === '1') set(setting, '2', mended)
  }
}

function set(name: string, value: string, mended: Mended[]): void {
  const what = `${showSysctl(name)} = ${value}`
  try {
    writeSysctl(name, value)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new PolderError(
      'sysctl-refused',
      `${what} could not be set (${code})`,
      `Set it yourself: sysctl -w ${name}=${value}`,
    )
  }
  mended.push({ kind: 'sysctl', what })
}
