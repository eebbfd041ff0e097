/**
 * Kernel settings of this process's network namespace, as files below /proc/sys. Names have slashes, as there: an
 * interface's name may have dots.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const ROOT = '/proc/sys'

/** Undefined where this kernel has no such setting, as net/ipv6 without IPv6. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(join(ROOT, name), 'utf8').trim()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export function writeSysctl(name: string, value: string): void {
  writeFileSync(join(ROOT, name), value)
}

/** The names of the interfaces that have settings of this family, without `all` and `default`. */
export function interfacesWithSysctls(family: 4 | 6): string[] {
  try {
    const names = readdirSync(join(ROOT, `net/ipv${family}/conf`))
    return names.filter((name) => name !== 'all' && name !== 'default')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

/** As a person writes it: `net.ipv4.ip_forward`. */
export function showSysctl(name: string): string {
  return name.replaceAll('/', '.')
}
