/**
 * The cgroups of a lab: `polder-lab-LAB/NODE` at the top of every cgroup hierarchy of the machine, version 1, version 2
 * or both. The node sees its own as the root, so whatever its containerd makes lies below and goes with the lab.
 *
 * In version 2 a cgroup that hands controllers to its children may hold no process: the node's own live in a leaf, `init`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { PolderError } from '../../daemon/errors.ts'
import type { Lab, LabNode } from './lab.ts'

export interface Hierarchy {
  version: 1 | 2
  mountPoint: string
  /** What `mount -o` needs to mount the same hierarchy again; empty for version 2. */
  options: string
}

export function hierarchies(mountinfo: string = readFileSync('/proc/self/mountinfo', 'utf8')): Hierarchy[] {
  const controllers = new Set(
    readFileSync('/proc/self/cgroup', 'utf8')
      .split('\n')
      .flatMap((line) => line.split(':')[1]?.split(',') ?? []),
  )
  const found = new Map<string, Hierarchy>()
  for (const line of mountinfo.split('\n')) {
    const [mount, filesystem] = line.split(' - ')
    if (mount === undefined || filesystem === undefined) continue
    const [type, , superOptions = ''] = filesystem.split(' ')
    const [, , , root = '', mountPoint = ''] = mount.split(' ')
    if (root !== '/' && !root.startsWith('/..')) continue
    if (type === 'cgroup2') found.set(mountPoint, { version: 2, mountPoint, options: '' })
    if (type !== 'cgroup') continue
    const options = superOptions.split(',').filter((option) => controllers.has(option))
    const named = options.some((option) => option.startsWith('name=')) ? ['none'] : []
    found.set(mountPoint, { version: 1, mountPoint, options: [...named, ...options].join(',') })
  }
  if (found.size === 0) {
    throw new PolderError(
      'cgroups',
      'No cgroup file system is mounted.',
      'Run: mount -t cgroup2 cgroup2 /sys/fs/cgroup',
    )
  }
  return [...found.values()]
}

function labCgroup(hierarchy: Hierarchy, lab: Lab): string {
  return `${hierarchy.mountPoint}/polder-lab-${lab.name}`
}

export function makeCgroups(node: LabNode): void {
  for (const hierarchy of hierarchies()) {
    const parent = labCgroup(hierarchy, node.lab)
    mkdirSync(parent, { recursive: true })
    if (hierarchy.version === 1) {
      // A cpuset without processors and memory takes no process: children copy them from the parent.
      if (existsSync(`${parent}/cpuset.cpus`)) copyCpuset(hierarchy.mountPoint, parent)
      mkdirSync(`${parent}/${node.name}`, { recursive: true })
    } else {
      delegate(hierarchy.mountPoint)
      delegate(parent)
      mkdirSync(`${parent}/${node.name}/init`, { recursive: true })
    }
  }
}

function copyCpuset(from: string, to: string): void {
  writeFileSync(`${to}/cgroup.clone_children`, '1')
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readFileSync(`${to}/${file}`, 'utf8').trim() === '')
      writeFileSync(`${to}/${file}`, readFileSync(`${from}/${file}`))
  }
}

/** Hands every controller that can be handed on to the children. One that cannot is left out: containers run without. */
function delegate(cgroup: string): void {
  const controllers = readFileSync(`${cgroup}/cgroup.controllers`, 'utf8').trim().split(' ').filter(Boolean)
  for (const controller of controllers) {
    try {
      writeFileSync(`${cgroup}/cgroup.subtree_control`, `+${controller}`)
    } catch {}
  }
}

/** The command line that puts itself into the node's cgroups and becomes `command`. */
export function joinCgroups(node: LabNode, command: string[], place: 'root' | 'init' = 'init'): string[] {
  const files = hierarchies().map((hierarchy) => {
    const leaf = hierarchy.version === 2 && place === 'init' ? '/init' : ''
    return `${labCgroup(hierarchy, node.lab)}/${node.name}${leaf}/cgroup.procs`
  })
  const shell = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 1; shift; done; shift; exec "$@"'
  return ['sh', '-c', shell, 'sh', ...files, '--', ...command]
}

/** Removes the cgroups of one node or, with none given, of the whole lab. Nothing runs in them any more. */
export async function removeCgroups(lab: Lab, node?: LabNode): Promise<void> {
  for (const hierarchy of hierarchies()) {
    const top = node === undefined ? labCgroup(hierarchy, lab) : `${labCgroup(hierarchy, lab)}/${node.name}`
    await removeTree(top)
  }
}

async function removeTree(cgroup: string): Promise<void> {
  if (!existsSync(cgroup)) return
  for (const entry of readdirSync(cgroup, { withFileTypes: true })) {
    if (entry.isDirectory()) await removeTree(`${cgroup}/${entry.name}`)
  }
  // A process that was just killed leaves its cgroup a moment later.
  for (let waitedMs = 0; ; waitedMs += 20) {
    try {
      return rmdirSync(cgroup)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOENT') return
      if (code !== 'EBUSY') throw error
      if (waitedMs >= 5000) throw inUse(cgroup)
      await delay(20)
    }
  }
}

function inUse(cgroup: string): PolderError {
  return new PolderError(
    'lab-in-use',
    `Processes that are not of this lab's nodes are in ${cgroup}.`,
    'Another lab of this name may run in a container on this machine: give this one another name with --name.',
  )
}
