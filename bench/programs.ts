/** Where the bench's own C programs are; scripts/bench compiles them. */
import { fileURLToPath } from 'node:url'

const built = (name: string): string => fileURLToPath(new URL(`../build/bench/${name}`, import.meta.url))

export const PROGRAMS = { rr: built('rr'), udp: built('udp'), cniCalls: built('cni-calls') }
