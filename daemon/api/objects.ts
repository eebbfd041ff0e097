/**
 * Cluster objects over HTTP: read, write, delete. Reads answer from the store's local copy; writes are validated by
 * cluster/schema.ts before the store sees them. Status is never taken from a client.
 */
import { isStarted } from '../cluster/deletion.ts'
import { type ClusterObject, type Kind, NAMESPACED, nodeOf, type ObjectKey, type Pod } from '../cluster/objects.ts'
import { parseManifests } from '../cluster/schema.ts'
import { DNS_LABEL, DNS_LABEL_RULE, DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE } from '../config/dns-name.ts'
import { PolderError } from '../errors.ts'
import { isReady } from '../runner/binding.ts'
import type { ApiContext } from './context.ts'
import { invalid } from './errors.ts'
import { waitUntilGone } from './pod-removal.ts'
import { type ApiRequest, queryCount, queryFlag, readBody } from './request.ts'
import type { DeleteAnswer, PutAnswer } from './types.ts'

const KINDS = Object.keys(NAMESPACED) as Kind[]
const DELETE_WAIT_SECONDS_MAX = 600
const GRACE_SECONDS_MAX = 1_000_000

export function listObjects(context: ApiContext, request: ApiRequest): ClusterObject[] {
  const kind = kindOf(request)
  const namespace = request.query.get('namespace')
  if (namespace === null) return context.store.list(kind)
  checkName('namespace', namespace)
  return NAMESPACED[kind] ? context.store.list(kind, namespace) : context.store.list(kind)
}

export function getObject(context: ApiContext, request: ApiRequest): ClusterObject {
  return requireObject(context, keyOf(request))
}

export async function putObject(context: ApiContext, request: ApiRequest): Promise<PutAnswer> {
  const { objects } = parseManifests(await readBody(request.message), 'the request body')
  const object = objects[0]
  if (object === undefined || objects.length > 1) {
    throw invalid(`The request body holds ${objects.length} objects.`, 'Send one object a request.')
  }
  requireNamespace(context, object)
  return { result: await context.store.put(object) }
}

/** Answers at once, or, asked to `wait`, when the pod has ended and this node holds nothing of it any more. */
export async function deleteObject(context: ApiContext, request: ApiRequest): Promise<DeleteAnswer> {
  const key = keyOf(request)
  const waitSeconds = queryCount(request.query, 'wait', DELETE_WAIT_SECONDS_MAX)
  const force = queryFlag(request.query, 'force')
  const graceSeconds = force ? 0 : queryCount(request.query, 'grace', GRACE_SECONDS_MAX)
  const object = requireObject(context, key)
  if (object.kind === 'Namespace') await emptyNamespace(context, object.metadata.name)
  await context.store.delete(key, {
    force: force && object.kind === 'Pod' && !canEnd(context, object),
    ...(graceSeconds === undefined ? {} : { graceSeconds }),
  })
  if (waitSeconds === undefined || object.kind !== 'Pod') return {}
  const nodeName = nodeOf(object)
  if (nodeName === undefined) return { gone: true }
  // What was not begun has no end that another node would tell of.
  if (nodeName !== context.info().name && !isStarted(object)) return {}
  return { gone: await waitUntilGone(context, object, waitSeconds, request.signal) }
}

/** Whether somebody is there who ends a pod on its node and says so. */
function canEnd(context: ApiContext, pod: Pod): boolean {
  const nodeName = nodeOf(pod) ?? ''
  if (nodeName === context.info().name) return context.runtimeFor(pod) !== undefined
  const node = context.store.get('Node', nodeName)
  return node !== undefined && isReady(node, Date.now())
}

export function requireObject(context: ApiContext, key: ObjectKey): ClusterObject {
  const object = context.store.get(key.kind, key.name, key.namespace)
  if (object !== undefined) return object
  const place = key.namespace === undefined ? '' : ` in namespace ${key.namespace}`
  throw new PolderError(
    'not-found',
    `${key.kind} "${key.name}" not found${place}.`,
    `See what there is: polder get ${key.kind.toLowerCase()}s${key.namespace === undefined ? '' : ' -A'}`,
  )
}

function kindOf(request: ApiRequest): Kind {
  const asked = request.params['kind']!
  const kind = KINDS.find((candidate) => candidate === asked)
  if (kind !== undefined) return kind
  throw new PolderError('unknown-kind', `There is no kind "${asked}".`, `The kinds are ${KINDS.join(', ')}.`)
}

function keyOf(request: ApiRequest): ObjectKey {
  const kind = kindOf(request)
  const name = request.params['name']!
  const namespace = request.params['namespace']!
  checkName('name', name)
  if (!NAMESPACED[kind]) {
    if (namespace !== '-') throw invalid(`A ${kind} has no namespace.`, `The path is /v1/objects/${kind}/-/${name}`)
    return { kind, name }
  }
  checkName('namespace', namespace)
  return { kind, name, namespace }
}

/** Names become paths of the folder store: nothing but a DNS name passes. */
function checkName(what: 'name' | 'namespace', value: string): void {
  const [pattern, rule] = what === 'name' ? [DNS_SUBDOMAIN, DNS_SUBDOMAIN_RULE] : [DNS_LABEL, DNS_LABEL_RULE]
  if (!pattern.test(value)) throw invalid(`"${value}" cannot be a ${what}.`, `A ${what} has ${rule}.`)
}

function requireNamespace(context: ApiContext, object: ClusterObject): void {
  const namespace = object.metadata.namespace
  if (namespace === undefined || namespace === 'default') return
  if (context.store.get('Namespace', namespace) !== undefined) return
  throw new PolderError(
    'not-found',
    `Namespace "${namespace}" of ${object.kind} "${object.metadata.name}" not found.`,
    `Create it first: polder create namespace ${namespace}`,
  )
}

async function emptyNamespace(context: ApiContext, namespace: string): Promise<void> {
  if (namespace === 'default') throw invalid('The namespace default cannot be deleted.', 'Delete what is in it.')
  const held = KINDS.filter((kind) => NAMESPACED[kind]).flatMap((kind) => context.store.list(kind, namespace))
  await Promise.all(held.map(({ kind, metadata }) => context.store.delete({ kind, name: metadata.name, namespace })))
}
