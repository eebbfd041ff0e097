/** Processes as /proc shows them. */
import { readdirSync, readFileSync } from 'node:fs'

/** The command line of a process, or of one that has ended, nothing. */
function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** The polder-keeper that listens, or listened, on this path. */
export function keeperPid(path: string): number | undefined {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const found = pids.find((pid) => {
    const [program = '', argument] = commandLine(pid)
    return program.endsWith('/polder-keeper') && argument === path
  })
  return found === undefined ? undefined : Number(found)
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) * 1024
}

/** What its open files are, as links. */
export function openFiles(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}
