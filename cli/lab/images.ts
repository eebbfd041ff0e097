/**
 * Images in a lab: an archive that scripts/images made on this machine, imported into every node's containerd. A lab has
 * no way to a registry. Which archive was imported is noted beside the node's data, so that a second `up` imports nothing.
 */
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { PolderError } from '../../daemon/errors.ts'
import { snapshotterOf } from './containerd.ts'
import { CHECKOUT, type LabNode } from './lab.ts'
import { runInside, runVisibly } from './processes.ts'

const FOLDER = `${CHECKOUT}/build/images`
const ARCHIVE = `${FOLDER}/images.tar`

/** Makes the archive unless it is there. */
export async function makeImages(): Promise<void> {
  const code = await runVisibly(`${CHECKOUT}/scripts/images`, [FOLDER])
  if (code === 0) return
  throw new PolderError(
    'lab-images',
    'The images for the lab could not be made: see above.',
    'Mend what it says, or start a lab without images: polder lab up --no-images',
  )
}

/** False where the node has them already. */
export async function importImages(node: LabNode, init: number): Promise<boolean> {
  const note = `${node.dataDir}/images-imported`
  const { mtimeMs, size } = statSync(ARCHIVE)
  const version = `${mtimeMs} ${size}`
  if (existsSync(note) && readFileSync(note, 'utf8') === version) return false
  const options = ['--snapshotter', await snapshotterOf(node), ARCHIVE]
  await runInside(node, init, ['ctr', '-n', 'k8s.io', 'images', 'import', ...options])
  writeFileSync(note, version)
  return true
}
