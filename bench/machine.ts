/** The machine a bench runs on, and whether it is quiet enough for it. */
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
  const before = cpuTimes()
  await delay(LOOK_MS)
  const after = cpuTimes()
  const busy = 1 - (after.idle - before.idle) / (after.all - before.all)
  return { kernel: release(), cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, busy }
}

/** In ticks, of all cores since the boot: user nice system idle iowait irq softirq steal. */
function cpuTimes(): { all: number; idle: number } {
  const words = readFileSync('/proc/stat', 'utf8').split('\n')[0]!.trim().split(/\s+/)
  const ticks = words.slice(1, 9).map(Number)
  return { all: ticks.reduce((sum, one) => sum + one, 0), idle: ticks[3]! + ticks[4]! }
}
