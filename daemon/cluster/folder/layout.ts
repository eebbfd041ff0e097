/**
 * Where things stand in the folder:
 *
 *   nodes/NAME.yaml          nodes/NAME.status.yaml          nodes/.NAME.lock   held by the polderd that is this node
 *   namespaces/NAME.yaml
 *   pods/NAMESPACE/NAME.yaml pods/NAMESPACE/NAME.status.yaml
 *   terminating/NAMESPACE_NAME_HASH.yaml     a pod that was deleted and has not ended yet (terminating-file.ts)
 *   services/NAMESPACE/NAME.yaml     …/NAME.status.yaml      what was given to it: addresses, node ports
 *   endpointslices/NAMESPACE/NAME.yaml
 *   service-claims/N.yaml    the Service that has an address or a node port (service-claims.ts)
 *   leases/NODE.yaml         the addresses that a node answers for on the link, and that it lives (leases.ts)
 *   ranges/N.yaml            the node that holds the Nth pod range
 *   .lock                    held for the moment of a write
 *
 * NAME.yaml belongs to people, NAME.status.yaml to programs. Hidden files, editors' backups and other endings are ignored.
 */
import { join } from 'node:path'
import { DNS_LABEL, DNS_SUBDOMAIN } from '../../config/dns-name.ts'
import { PolderError } from '../../errors.ts'
import { type Kind, NAMESPACED, type ObjectKey } from '../objects.ts'

const ENDING = '.yaml'
const STATUS_ENDING = '.status.yaml'
/** A file's name has at most 255 bytes. */
const NAME_LENGTH_MAX = 255 - STATUS_ENDING.length

const FOLDERS: Record<Kind, string> = {
  Node: 'nodes',
  Namespace: 'namespaces',
  Pod: 'pods',
  Service: 'services',
  EndpointSlice: 'endpointslices',
}

/** Where a folder of each namespace lies. */
export const NAMESPACED_FOLDERS = (Object.keys(FOLDERS) as Kind[])
  .filter((kind) => NAMESPACED[kind])
  .map((kind) => FOLDERS[kind])
export const CLAIMS_FOLDER = 'service-claims'
export const LEASES_FOLDER = 'leases'
export const TERMINATING_FOLDER = 'terminating'

/** The folders that always exist. */
export const FIXED_FOLDERS = [
  'nodes',
  'namespaces',
  ...NAMESPACED_FOLDERS.flatMap((folder) => [folder, `${folder}/default`]),
  TERMINATING_FOLDER,
  'ranges',
  CLAIMS_FOLDER,
  LEASES_FOLDER,
]

/** What a file holds, by its place: half of an object, a pod that ends, something that is ignored, or a mistake to report. */
export type Place =
  | { key: ObjectKey; part: 'spec' | 'status' }
  | { part: 'terminating' }
  | { mistake: string }
  | undefined

export function keyOf(object: { kind: Kind; metadata: { name: string; namespace?: string } }): ObjectKey {
  const { kind, metadata } = object
  return NAMESPACED[kind]
    ? { kind, name: metadata.name, namespace: metadata.namespace ?? 'default' }
    : { kind, name: metadata.name }
}

/** The key as one string, to look it up by; sorts by kind, namespace, name. */
export function keyText(key: ObjectKey): string {
  return `${key.kind} ${key.namespace ?? ''} ${key.name}`
}

export function specPath(key: ObjectKey): string {
  return join(FOLDERS[key.kind], key.namespace ?? '', `${key.name}${ENDING}`)
}

export function statusPath(key: ObjectKey): string {
  return join(FOLDERS[key.kind], key.namespace ?? '', `${key.name}${STATUS_ENDING}`)
}

export function nodeLockPath(name: string): string {
  return join(FOLDERS.Node, `.${name}.lock`)
}

/** What the file at `path`, relative to the store's folder, is. */
export function placeAt(path: string): Place {
  const [folder = '', ...rest] = path.split('/')
  const file = rest.pop() ?? ''
  if (folder === TERMINATING_FOLDER && rest.length === 0 && /^[^.#].*\.yaml$/.test(file)) return { part: 'terminating' }
  const kind = (Object.keys(FOLDERS) as Kind[]).find((one) => FOLDERS[one] === folder)
  if (kind === undefined || /^[.#]|~$/.test(file) || rest.length !== (NAMESPACED[kind] ? 1 : 0)) return undefined
  if (/\.(yml|json)$/.test(file)) return { mistake: 'is not read: rename it so that it ends in .yaml' }
  if (!file.endsWith(ENDING)) return undefined
  const part = file.endsWith(STATUS_ENDING) ? 'status' : 'spec'
  const name = file.slice(0, -(part === 'status' ? STATUS_ENDING : ENDING).length)
  const namespace = rest[0]
  if (namespace === undefined) return { key: { kind, name }, part }
  if (!DNS_LABEL.test(namespace)) return { mistake: `is not read: ${namespace} cannot be the name of a namespace` }
  return { key: { kind, name, namespace }, part }
}

/** Refuses names for which there can be no file; the key is safe to make a path of afterwards. */
export function checkKey(key: ObjectKey): void {
  const isName = DNS_SUBDOMAIN.test(key.name) && (key.namespace === undefined || DNS_LABEL.test(key.namespace))
  if (isName && !key.name.endsWith('.status') && key.name.length <= NAME_LENGTH_MAX) return
  const rule = `The folder store takes names of at most ${NAME_LENGTH_MAX} characters that do not end in ".status".`
  throw new PolderError('bad-name', `${describeKey(key)} cannot be stored under this name.`, rule)
}

/** `Pod default/web`, as messages name it. */
export function describeKey(key: ObjectKey): string {
  return `${key.kind} ${key.namespace === undefined ? '' : `${key.namespace}/`}${key.name}`
}
