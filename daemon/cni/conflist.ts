/**
 * What a container runtime finds of polder: the shim in its plugin folder and the network configuration list. Both are
 * put in place by rename, the list last: a runtime never sees half a file, or a list whose plugin is not there. It is
 * written once polderd can attach, for its presence tells a runtime that the network is ready; it stays while polderd
 * restarts, for the shim waits and spools meanwhile.
 */
import { chmodSync, readFileSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DEFAULT_SOCKET } from '../config/places.ts'
import { PolderError } from '../errors.ts'
import { isCode, makeFolder, removeAbandoned, replaceFile } from '../files/atomic-file.ts'
import { CAPABILITIES } from './capabilities.ts'
import { DEFAULT_SPOOL } from './spool.ts'
import { CNI_VERSIONS } from './versions.ts'

export const LIST_NAME = '10-polder.conflist'
const SHIM_NAME = 'polder-cni'

/**
 * A runtime takes the highest version it knows of `cniVersions`; one from before 1.1.0 knows no such key and takes
 * `cniVersion`. So containerd 2 speaks 1.1.0, with STATUS and GC, and containerd 1 and podman 4, which refuse results of
 * 1.1.0, speak 1.0.0: all from one file, and without asking who reads it.
 */
const LIST_VERSION = '1.0.0'

export interface ConflistOptions {
  cniConfDir: string
  cniBinDir: string
  socket: string
  spool: string
}

/** Installs the shim and the list; files that are already right are not touched. */
export async function installConflist({ cniConfDir, cniBinDir, socket, spool }: ConflistOptions): Promise<void> {
  const built = fileURLToPath(new URL('../../build/polder-cni', import.meta.url))
  await put(join(cniBinDir, SHIM_NAME), readShim(built), 0o755)
  const list = {
    cniVersion: LIST_VERSION,
    cniVersions: CNI_VERSIONS.map(({ version }) => version),
    name: 'polder',
    plugins: [
      {
        type: SHIM_NAME,
        capabilities: CAPABILITIES,
        // The shim knows the usual places.
        ...(socket !== DEFAULT_SOCKET && { socket }),
        ...(spool !== DEFAULT_SPOOL && { spool }),
      },
    ],
  }
  await put(join(cniConfDir, LIST_NAME), Buffer.from(`${JSON.stringify(list, null, 2)}\n`), 0o644)
}

/** Where the two files are, or would be. */
export function conflistFiles({ cniConfDir, cniBinDir }: Pick<ConflistOptions, 'cniConfDir' | 'cniBinDir'>): string[] {
  return [join(cniConfDir, LIST_NAME), join(cniBinDir, SHIM_NAME)]
}

/** For a clean uninstall, the list first. What is absent stays absent. */
export function removeConflist(folders: Pick<ConflistOptions, 'cniConfDir' | 'cniBinDir'>): void {
  for (const path of conflistFiles(folders)) rmSync(path, { force: true })
}

function readShim(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new PolderError('not-built', `the CNI plugin cannot be read: ${String(error)}`, 'Run ./scripts/build.')
  }
}

async function put(path: string, content: Buffer, mode: number): Promise<void> {
  await makeFolder(dirname(path))
  await removeAbandoned(dirname(path))
  if (!isThere(path, content)) await replaceFile(path, content, mode)
  else if ((statSync(path).mode & 0o777) !== mode) chmodSync(path, mode)
}

function isThere(path: string, content: Buffer): boolean {
  try {
    return readFileSync(path).equals(content)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return false
    throw error
  }
}
