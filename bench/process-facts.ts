/** What the kernel says of processes: memory from smaps_rollup, CPU time of every thread from schedstat. */
import { readdirSync, readFileSync } from 'node:fs'

const BYTES_PER_KIB = 1024

/** Megabytes of 1e6 bytes. Resident counts what is shared in every process, proportional (PSS) only a part of it. */
export function memoryOf(pids: readonly number[]): { residentMB: number; proportionalMB: number } {
  const rollups = pids.map((pid) => readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))
  const sum = (field: RegExp): number =>
    rollups.reduce((all, text) => all + (Number(field.exec(text)?.[1] ?? 0) * BYTES_PER_KIB) / 1e6, 0)
  return { residentMB: sum(/^Rss:\s+(\d+) kB$/m), proportionalMB: sum(/^Pss:\s+(\d+) kB$/m) }
}

/** To the nanosecond, where /proc/PID/stat counts ticks of 10 ms. Threads that have ended are not in it. */
export function cpuMsOf(pids: readonly number[]): number {
  const tasks = pids.flatMap((pid) => readdirSync(`/proc/${pid}/task`).map((task) => `/proc/${pid}/task/${task}`))
  return tasks.reduce((all, task) => all + Number(readFileSync(`${task}/schedstat`, 'utf8').split(' ')[0]) / 1e6, 0)
}
