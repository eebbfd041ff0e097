/** The machine a bench runs on, and how busy it is. */
import { readFileSync } from 'node:fs'
import { cpus, release } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'

const LOOK_MS = 1000

export interface Machine {
  kernel: string
  cpu: string
  cores: number
  /** What others used of all cores just before, 0 to 1. */
  busy: number
}

export async function lookAtMachine(): Promise<Machine> {
  const before = cpuTicks()
  await delay(LOOK_MS)
  return {
    kernel: release(),
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    busy: busyShare(before, cpuTicks()),
  }
}

/** Of all cores since the boot, in ticks. What a hypervisor gave to others (steal) is neither. */
export interface CpuTicks {
  busy: number
  idle: number
}

export function cpuTicks(): CpuTicks {
  const words = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.trim().split(/\s+/)
  const [user, nice, system, idle, iowait, irq, softirq] = words.slice(1).map(Number)
  return { busy: user! + nice! + system! + irq! + softirq!, idle: idle! + iowait! }
}

/** Of all cores together, 0 to 1. */
export function busyShare(before: CpuTicks, after: CpuTicks): number {
  const busy = after.busy - before.busy
  return busy / (busy + after.idle - before.idle)
}
