/**
 * The processes of a lab: starting programs, finding a node's first process, and entering a node.
 *
 * A node is found by a mark in the environment of its first process, never by a recorded pid: nothing can be stale,
 * and no process of anyone else can be taken for a node.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../daemon/errors.ts'
import { joinCgroups } from './cgroups.ts'
import type { Lab, LabNode } from './lab.ts'

const MARK = 'POLDER_LAB_NODE'

/** All that the lab's own programs and the nodes' daemons get of the environment: a node is a machine of its own. */
export const ENVIRONMENT = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C.UTF-8' }

/** Runs a program to its end; its standard output. Throws with what it wrote on standard error. */
export function run(program: string, args: string[], shownAs = [program, ...args]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { maxBuffer: 16 << 20, env: ENVIRONMENT }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout)
      else if (error.code === 'ENOENT') reject(missingProgram(program))
      else reject(new Error(`${shownAs.join(' ')}: ${stderr.trim() || `ended with ${error.code ?? error.signal}`}`))
    })
  })
}

/** Runs a program that tells its own progress on this terminal; its exit code. */
export function runVisibly(program: string, args: string[]): Promise<number> {
  return ended(spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] }))
}

function missingProgram(program: string): PolderError {
  return new PolderError('program-missing', `The program ${program} is not installed.`, 'Run: sudo ./scripts/setup')
}

export function markOf(node: LabNode): Record<string, string> {
  return { [MARK]: `${node.lab.name}/${node.name}` }
}

interface MarkedProcess {
  pid: number
  node: string
  /** It is the first process of a pid namespace, set up and waiting. */
  init: boolean
}

/** Everything that carries the lab's mark: the first process of each node and the `unshare` that watches it. */
function markedProcesses(lab: Lab): MarkedProcess[] {
  const found: MarkedProcess[] = []
  for (const entry of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue
    const environment = readProc(`${entry}/environ`).split('\0')
    const mark = environment.find((variable) => variable.startsWith(`${MARK}=${lab.name}/`))
    if (mark === undefined) continue
    const status = readProc(`${entry}/status`)
    const init = /^Name:\tcatatonit$/m.test(status) && /^NSpid:.*\t1$/m.test(status)
    found.push({ pid: Number(entry), node: mark.slice(MARK.length + lab.name.length + 2), init })
  }
  return found
}

/** A process may end between the listing and the reading. */
function readProc(path: string): string {
  try {
    return readFileSync(`/proc/${path}`, 'latin1')
  } catch {
    return ''
  }
}

/** The first process of each node whose namespaces are ready, by node name. */
export function nodeInits(lab: Lab): Map<string, number> {
  return new Map(markedProcesses(lab).flatMap(({ node, pid, init }) => (init ? [[node, pid] as const] : [])))
}

export function initOf(node: LabNode): number | undefined {
  return nodeInits(node.lab).get(node.name)
}

/** Kills a node, or all of the lab's; the kernel then ends every process in the pid namespaces. Resolves when they are gone. */
export async function killNodes(lab: Lab, node?: LabNode): Promise<void> {
  const marked = () => markedProcesses(lab).filter((one) => node === undefined || one.node === node.name)
  for (let waitedMs = 0; ; waitedMs += 20) {
    const left = marked()
    if (left.length === 0) return
    if (waitedMs >= 20_000) {
      const pids = left.map(({ pid }) => pid).join(', ')
      throw new PolderError(
        'lab-stuck',
        `Processes of the lab do not end: ${pids}.`,
        'Look at them with ps, then try again.',
      )
    }
    for (const { pid } of left) killIfThere(pid)
    await delay(20)
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** The command line that runs `command` inside a node, in its namespaces and its cgroup. */
export function commandInside(node: LabNode, init: number, command: string[], workDir = '/'): string[] {
  const namespaces = ['-m', '-u', '-i', '-n', '-p', '-C'].concat(`--wdns=${workDir}`)
  return joinCgroups(node, ['nsenter', '-t', String(init), ...namespaces, '--', ...command])
}

export function runInside(node: LabNode, init: number, command: string[]): Promise<string> {
  const [program, ...args] = commandInside(node, init, command) as [string, ...string[]]
  return run(program, args, [`on ${node.name}:`, ...command])
}

/** Starts a daemon in a node, its output appended to a file. The shell ends and leaves it to the node's first process. */
export async function startInside(node: LabNode, init: number, log: string, command: string[]): Promise<void> {
  const shell = ['sh', '-c', 'setsid "$@" </dev/null &', 'sh']
  const [program, ...args] = commandInside(node, init, [...shell, ...command]) as [string, ...string[]]
  const output = openSync(log, 'a')
  try {
    await ended(spawn(program, args, { stdio: ['ignore', output, output], env: ENVIRONMENT }))
  } finally {
    closeSync(output)
  }
}

/** Whether a process with such a command line runs in the node. The node's own /proc lists no one else's. */
export function runsInside(init: number, commandLine: RegExp): boolean {
  const proc = `/proc/${init}/root/proc`
  if (!existsSync(proc)) return false
  const pids = readdirSync(proc).filter((entry) => /^[0-9]+$/.test(entry))
  return pids.some((pid) => commandLine.test(readProc(`${init}/root/proc/${pid}/cmdline`)))
}

/** Runs a command in a node on this terminal; its exit code. */
export async function execInside(node: LabNode, init: number, command: string[], workDir: string): Promise<number> {
  const [program, ...args] = commandInside(node, init, command, workDir) as [string, ...string[]]
  // The terminal sends Ctrl-C to the command too: it decides, this process only waits for it.
  const ignore = () => {}
  process.on('SIGINT', ignore)
  try {
    return await ended(spawn(program, args, { stdio: 'inherit' }))
  } finally {
    process.off('SIGINT', ignore)
  }
}

function ended(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve(signal === null ? (code ?? 1) : 128 + constants.signals[signal]))
  })
}
