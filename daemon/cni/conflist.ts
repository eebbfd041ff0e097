/**
 * What a container runtime finds of polder: the shim in its plugin folder and the network configuration list. Both are
 * put in place by rename, the list last: a runtime never sees half a file, or a list whose plugin is not there. It is
 * written once polderd can attach, for its presence tells a runtime that the network is ready; it stays while polderd
 * restarts, for the shim waits and spools meanwhile.
 */
import { chmodSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { PolderError } from '../errors.ts'
import { DEFAULT_SPOOL } from './spool.ts'

const LIST_NAME = '10-polder.conflist'
const SHIM_NAME = 'polder-cni'
const DEFAULT_SOCKET = '/run/polder/polderd.sock'

/** containerd 1.6 refuses results of 1.1.0. */
const LIST_VERSION = '1.0.0'

export interface ConflistOptions {
  cniConfDir: string
  cniBinDir: string
  socket: string
  spool: string
}

/** Installs the shim and the list; files that are already right are not touched. */
export function installConflist({ cniConfDir, cniBinDir, socket, spool }: ConflistOptions): void {
  const built = fileURLToPath(new URL('../../build/polder-cni', import.meta.url))
  replaceFile(join(cniBinDir, SHIM_NAME), readShim(built), 0o755)
  const list = {
    cniVersion: LIST_VERSION,
    name: 'polder',
    plugins: [
      {
        type: SHIM_NAME,
        // The shim knows the usual places.
        ...(socket !== DEFAULT_SOCKET && { socket }),
        ...(spool !== DEFAULT_SPOOL && { spool }),
      },
    ],
  }
  replaceFile(join(cniConfDir, LIST_NAME), Buffer.from(`${JSON.stringify(list, null, 2)}\n`), 0o644)
}

/** For a clean uninstall, the list first. What is absent stays absent. */
export function removeConflist({ cniConfDir, cniBinDir }: Pick<ConflistOptions, 'cniConfDir' | 'cniBinDir'>): void {
  rmSync(join(cniConfDir, LIST_NAME), { force: true })
  rmSync(join(cniBinDir, SHIM_NAME), { force: true })
}

function readShim(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new PolderError('not-built', `the CNI plugin cannot be read: ${String(error)}`, 'Run ./scripts/build.')
  }
}

function replaceFile(path: string, content: Buffer, mode: number): void {
  try {
    if (readFileSync(path).equals(content)) {
      chmodSync(path, mode)
      return
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 })
  // Runtimes read only names that end in .conflist, .conf or .json.
  const fresh = `${path}.new`
  writeFileSync(fresh, content, { mode })
  chmodSync(fresh, mode)
  renameSync(fresh, path)
}
