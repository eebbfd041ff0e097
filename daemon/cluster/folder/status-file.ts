/**
 * NAME.status.yaml: what programs know of an object, beside the file that a person edits. It names the uid that it is
 * about, so that what an earlier object of the same name left behind is never taken for the present one's.
 */
import { stringify } from 'yaml'
import { z } from 'zod'
import { parsePlaced, showPath } from '../../config/placed-yaml.ts'
import { PolderError } from '../../errors.ts'
import type { NodeStatus, ObjectKey, PodStatus } from '../objects.ts'
import type { ServiceStatus } from '../service-objects.ts'
import { SERVICE_STATUS_SCHEMA } from '../service-shapes.ts'
import { NODE_STATUS_SCHEMA, POD_STATUS_SCHEMA } from '../shapes.ts'

export type ObjectStatus = PodStatus | NodeStatus | ServiceStatus

const SCHEMAS = { Pod: POD_STATUS_SCHEMA, Node: NODE_STATUS_SCHEMA, Service: SERVICE_STATUS_SCHEMA }

export interface StatusFile {
  uid?: string
  status: ObjectStatus
}

export function parseStatus(text: string, place: string, key: ObjectKey): StatusFile {
  if (key.kind === 'Namespace' || key.kind === 'EndpointSlice') {
    throw badStatus([`${place}: is not read: a ${key.kind} has no status`])
  }
  const { documents, mistakes } = parsePlaced(text, place)
  const document = documents[0]
  if (mistakes.length > 0) throw badStatus(mistakes)
  if (document === undefined || documents.length > 1) throw badStatus([`${place}: must hold exactly one object`])
  const status: z.ZodType<ObjectStatus> = SCHEMAS[key.kind]
  const namespace = key.namespace === undefined ? z.undefined() : z.literal(key.namespace)
  const metadata = z.object({
    name: z.literal(key.name),
    namespace: namespace.optional(),
    uid: z.string().exactOptional(),
  })
  const result = z.object({ kind: z.literal(key.kind), metadata, status }).safeParse(document.value)
  if (!result.success) {
    throw badStatus(
      result.error.issues.map((one) => `${document.placeOf(one.path)} ${showPath(one.path)}: ${one.message}`),
    )
  }
  const { uid } = result.data.metadata
  return uid === undefined ? { status: result.data.status } : { uid, status: result.data.status }
}

export function statusText(key: ObjectKey, file: StatusFile): string {
  const { kind, name, namespace } = key
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }), ...(file.uid && { uid: file.uid }) }
  const comment = `# Written by polderd. Edit ${name}.yaml instead.\n`
  return comment + stringify({ apiVersion: 'v1', kind, metadata, status: file.status }, { lineWidth: 0 })
}

function badStatus(mistakes: string[]): PolderError {
  return new PolderError('bad-status', mistakes.join('\n'), 'Remove the file: its owner writes it again.')
}
