/**
 * terminating/NAMESPACE_NAME_HASH.yaml: a pod that was deleted and has not ended on its node yet, whole, with its status
 * and its deadline. It stands apart from pods/, so that a person may write another pod of the same name meanwhile; the
 * hash tells them apart, by uid.
 */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { z } from 'zod'
import { parsePlaced } from '../../config/placed-yaml.ts'
import { PolderError } from '../../errors.ts'
import type { ClusterObject, Pod } from '../objects.ts'
import { checkObject } from '../schema.ts'
import { POD_STATUS_SCHEMA } from '../shapes.ts'
import { TERMINATING_FOLDER } from './layout.ts'

/** What a person sees of a long name; the hash is of the whole. */
const NAME_LENGTH_SHOWN = 200
const COMMENT = '# Written by polderd: this pod is deleted and ends on its node. It is gone when this file is.\n'

const DELETION = z.object({
  kind: z.literal('Pod'),
  metadata: z.object({ deletionTimestamp: z.iso.datetime(), deletionGracePeriodSeconds: z.number().min(0) }),
  status: POD_STATUS_SCHEMA,
})

export function terminatingPath({ metadata }: Pod): string {
  const { namespace = 'default', name, uid = '' } = metadata
  const hash = createHash('sha256').update(`${namespace} ${name} ${uid}`).digest('hex').slice(0, 12)
  return join(TERMINATING_FOLDER, `${`${namespace}_${name}`.slice(0, NAME_LENGTH_SHOWN)}_${hash}.yaml`)
}

export function terminatingText(pod: Pod): string {
  return COMMENT + stringify(pod, { lineWidth: 0 })
}

export function parseTerminating(text: string, place: string): Pod {
  const { documents, mistakes } = parsePlaced(text, place)
  const value = documents[0]?.value
  const deletion = DELETION.safeParse(value)
  if (mistakes.length > 0 || !deletion.success) {
    const why = mistakes[0] ?? `${place}: is no pod that is being deleted`
    throw new PolderError('bad-file', `${why}: remove it; its node ends what is left of the pod`, '')
  }
  const { metadata, status } = deletion.data
  const pod = checkObject(value as ClusterObject) as Pod
  return { ...pod, metadata: { ...pod.metadata, ...metadata }, status }
}
