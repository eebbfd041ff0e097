/**
 * Which Services, EndpointSlices and Pods belong together, kept in step object by object: what a change concerns is found
 * by its labels, not by looking at everything.
 */
import type { ClusterObject, Pod } from '../cluster/objects.ts'
import { type EndpointSlice, SERVICE_NAME_LABEL, type Service } from '../cluster/service-objects.ts'
import { selects } from './endpoints.ts'

export class ServiceIndex {
  readonly #services = new Map<string, Service>()
  /** By Service. */
  readonly #slices = new Map<string, Map<string, EndpointSlice>>()
  /** By namespace and label. */
  readonly #pods = new Map<string, Map<string, Pod>>()
  /** The names of Services, by namespace and the first label of their selector. */
  readonly #selecting = new Map<string, Set<string>>()

  /** NAMESPACE/NAME of every Service. */
  names(): Iterable<string> {
    return this.#services.keys()
  }

  service(name: string): Service | undefined {
    return this.#services.get(name)
  }

  slicesOf(name: string): EndpointSlice[] {
    return [...(this.#slices.get(name)?.values() ?? [])]
  }

  /** Those that its selector may pick, and no other that it picks. */
  podsOf(service: Service): Pod[] {
    const label = selectorOf(service)
    return label === undefined ? [] : [...(this.#pods.get(label)?.values() ?? [])]
  }

  /** An object is another now, new, or gone. Answers the Services that this concerns. */
  note(previous: ClusterObject | undefined, current: ClusterObject | undefined): Set<string> {
    const concerned = new Set<string>()
    if (previous !== undefined) this.#look(previous, false, concerned)
    if (current !== undefined) this.#look(current, true, concerned)
    return concerned
  }

  #look(object: ClusterObject, isThere: boolean, concerned: Set<string>): void {
    if (object.kind === 'Service') this.#noteService(object, isThere, concerned)
    if (object.kind === 'Pod') this.#notePod(object, isThere, concerned)
    if (object.kind !== 'EndpointSlice') return
    const name = serviceOf(object)
    concerned.add(name)
    if (isThere) put(this.#slices, name, object.metadata.name, object)
    else take(this.#slices, name, object.metadata.name)
  }

  #noteService(service: Service, isThere: boolean, concerned: Set<string>): void {
    const name = nameOf(service)
    concerned.add(name)
    const label = selectorOf(service)
    if (isThere) this.#services.set(name, service)
    else this.#services.delete(name)
    if (label === undefined) return
    const names = this.#selecting.get(label) ?? new Set()
    if (isThere) names.add(name)
    else names.delete(name)
    if (names.size > 0) this.#selecting.set(label, names)
    else this.#selecting.delete(label)
  }

  #notePod(pod: Pod, isThere: boolean, concerned: Set<string>): void {
    const { namespace = '', name, uid, deletionTimestamp, labels = {} } = pod.metadata
    // One that is being deleted stands beside its successor of the same name.
    const own = deletionTimestamp === undefined ? name : `${name} ${uid}`
    for (const [key, value] of Object.entries(labels)) {
      const label = labelText(namespace, key, value)
      if (isThere) put(this.#pods, label, own, pod)
      else take(this.#pods, label, own)
      for (const service of this.#selecting.get(label) ?? []) {
        if (selects(this.#services.get(service)!, pod)) concerned.add(service)
      }
    }
  }
}

function put<Value>(maps: Map<string, Map<string, Value>>, outer: string, inner: string, value: Value): void {
  const map = maps.get(outer)
  if (map === undefined) maps.set(outer, new Map([[inner, value]]))
  else map.set(inner, value)
}

function take<Value>(maps: Map<string, Map<string, Value>>, outer: string, inner: string): void {
  const map = maps.get(outer)
  map?.delete(inner)
  if (map?.size === 0) maps.delete(outer)
}

function labelText(namespace: string, key: string, value: string): string {
  return `${namespace} ${key}=${value}`
}

function selectorOf({ spec, metadata }: Service): string | undefined {
  const [first] = Object.entries(spec.selector ?? {})
  return first === undefined ? undefined : labelText(metadata.namespace ?? '', ...first)
}

function nameOf({ metadata }: Service): string {
  return `${metadata.namespace}/${metadata.name}`
}

function serviceOf({ metadata }: EndpointSlice): string {
  return `${metadata.namespace}/${metadata.labels?.[SERVICE_NAME_LABEL] ?? ''}`
}
