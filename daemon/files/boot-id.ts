/** Which boot of the machine this is: what must not outlive it is marked with this. */
import { readFileSync } from 'node:fs'

export function readBootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}
