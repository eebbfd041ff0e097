/** Where the bench's own C programs are; scripts/bench compiles them. */
import { fileURLToPath } from 'node:url'

const built = (name: string): string => fileURLToPath(new URL(`../build/bench/${name}`, import.meta.url))

export const PROGRAMS = {
  cniCalls: built('cni-calls'),
  connections: built('connections'),
  rr: built('rr'),
  udp: built('udp'),
  udpRate: built('udp-rate'),
}
