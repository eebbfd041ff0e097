/**
 * The shapes of objects.ts as zod schemas: what a manifest or a store file must look like. Unknown fields are mistakes
 * (schema.ts sorts out those that Kubernetes knows); messages complete the sentence "FIELD VALUE …".
 *
 * Only the form is checked here: whether a namespace or an image exists is for others to find out.
 */
import { z } from 'zod'
import { cidrMistake, formatCidr, parseCidr } from '../config/cidr.ts'
import { hostIPMistake } from '../host-ports/port-mapping.ts'
import {
  clusterMetadata,
  conditions,
  label,
  namespacedMetadata,
  namespaceMetadata,
  portName,
  portNumber,
  subdomain,
  text,
} from './fields.ts'
import type { ClusterObject, Container, Kind, Namespace, Node, NodeStatus, Pod, PodSpec, PodStatus } from './objects.ts'
import { checkPortNames, lifecycle, readinessProbe, stoppingProbe } from './probe-shapes.ts'
import { endpointSlice, service } from './service-shapes.ts'

const ENV_NAME = /^[^\s=\p{Cc}]+$/u
const FIELD_PATHS =
  /^(metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])|spec\.nodeName|status\.(podIPs?|hostIP))$/
const FIELD_PATHS_RULE =
  'metadata.name, metadata.namespace, metadata.uid, metadata.labels[…], metadata.annotations[…], spec.nodeName, ' +
  'status.podIP, status.podIPs or status.hostIP'

const strings = z.array(z.string())

const envVar = z
  .strictObject({
    name: text(ENV_NAME, 'without spaces and "="'),
    value: z.string().exactOptional(),
    valueFrom: z
      .strictObject({
        fieldRef: z.strictObject({ fieldPath: text(FIELD_PATHS, FIELD_PATHS_RULE) }),
      })
      .exactOptional(),
  })
  .refine((variable) => variable.value === undefined || variable.valueFrom === undefined, {
    error: 'must not have both value and valueFrom',
  })

const containerPort = z.strictObject({
  name: portName.exactOptional(),
  containerPort: portNumber,
  protocol: z.enum(['TCP', 'UDP', 'SCTP']).exactOptional(),
  hostPort: z.union([z.literal(0), portNumber]).exactOptional(),
  hostIP: z
    .string()
    .superRefine((hostIP, context) => {
      const message = hostIP === '' ? undefined : hostIPMistake(hostIP)
      if (message !== undefined) context.addIssue({ code: 'custom', message })
    })
    .exactOptional(),
})

const container: z.ZodType<Container> = z
  .strictObject({
    name: label,
    image: text(/^\S+$/, 'the name of an image, without spaces'),
    imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).exactOptional(),
    command: strings.exactOptional(),
    args: strings.exactOptional(),
    workingDir: z.string().exactOptional(),
    env: z.array(envVar).exactOptional(),
    ports: z.array(containerPort).exactOptional(),
    tty: z.boolean().exactOptional(),
    stdin: z.boolean().exactOptional(),
    startupProbe: stoppingProbe.exactOptional(),
    readinessProbe: readinessProbe.exactOptional(),
    livenessProbe: stoppingProbe.exactOptional(),
    lifecycle: lifecycle.exactOptional(),
    securityContext: z
      .strictObject({
        privileged: z.boolean().exactOptional(),
        capabilities: z.strictObject({ add: strings.exactOptional(), drop: strings.exactOptional() }).exactOptional(),
      })
      .exactOptional(),
  })
  .superRefine(checkPortNames)

const podSpec = z
  .strictObject({
    containers: z.array(container).default([]),
    nodeName: subdomain.exactOptional(),
    hostNetwork: z.boolean().exactOptional(),
    hostname: label.exactOptional(),
    restartPolicy: z.enum(['Always', 'OnFailure', 'Never']).exactOptional(),
    terminationGracePeriodSeconds: z.int().min(0).exactOptional(),
    runtimeClassName: z.literal('netns').exactOptional(),
  })
  .superRefine(checkPodSpec)

function checkPodSpec(spec: PodSpec, context: z.RefinementCtx): void {
  const isNetns = spec.runtimeClassName === 'netns'
  if (spec.containers.length === 0 && !isNetns) {
    const message = 'must hold at least one container (only with runtimeClassName netns may it be empty)'
    context.addIssue({ code: 'custom', path: ['containers'], message })
  }
  if (spec.containers.length > 0 && isNetns) {
    const message = 'must be empty with runtimeClassName netns: a bare network namespace runs nothing'
    context.addIssue({ code: 'custom', path: ['containers'], message })
  }
  if (spec.hostNetwork && isNetns) {
    const message = 'must not be set with runtimeClassName netns'
    context.addIssue({ code: 'custom', path: ['hostNetwork'], message })
  }
  for (const [index, { ports = [] }] of spec.hostNetwork ? spec.containers.entries() : []) {
    for (const [number, { hostPort, containerPort }] of ports.entries()) {
      if (!hostPort || hostPort === containerPort) continue
      const path = ['containers', index, 'ports', number, 'hostPort']
      context.addIssue({ code: 'custom', path, message: 'must be the containerPort with hostNetwork, or be left out' })
    }
  }
  const names = spec.containers.map((one) => one.name)
  for (const [index, name] of names.entries()) {
    if (names.indexOf(name) === index) continue
    const message = `must be unique: containers[${names.indexOf(name)}] has this name`
    context.addIssue({ code: 'custom', path: ['containers', index, 'name'], message })
  }
}

const network = z.string().transform((cidr, context) => {
  const message = cidrMistake(cidr)
  if (message === undefined) return formatCidr(parseCidr(cidr))
  context.addIssue({ code: 'custom', message })
  return z.NEVER
})

const pod: z.ZodType<Pod> = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Pod'),
  metadata: namespacedMetadata,
  spec: podSpec,
})

const node: z.ZodType<Node> = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Node'),
  metadata: clusterMetadata,
  spec: z.strictObject({ podCIDRs: z.array(network).default([]) }).prefault({}),
})

const namespace: z.ZodType<Namespace> = z.strictObject({
  apiVersion: z.literal('v1'),
  kind: z.literal('Namespace'),
  metadata: namespaceMetadata,
})

export const OBJECT_SCHEMAS: { readonly [K in Kind]: z.ZodType<Extract<ClusterObject, { kind: K }>> } = {
  Pod: pod,
  Node: node,
  Namespace: namespace,
  Service: service,
  EndpointSlice: endpointSlice,
}

export const KINDS = Object.keys(OBJECT_SCHEMAS) as Kind[]

const containerState = z.looseObject({
  waiting: z.looseObject({ reason: z.string(), message: z.string().exactOptional() }).exactOptional(),
  running: z.looseObject({ startedAt: z.string() }).exactOptional(),
  terminated: z
    .looseObject({
      exitCode: z.int(),
      reason: z.string().exactOptional(),
      message: z.string().exactOptional(),
      startedAt: z.string().exactOptional(),
      finishedAt: z.string().exactOptional(),
    })
    .exactOptional(),
})

/** Status is written by programs only: fields that it does not know stay as they are. */
export const POD_STATUS_SCHEMA: z.ZodType<PodStatus> = z.looseObject({
  nodeName: subdomain.exactOptional(),
  phase: z.enum(['Pending', 'Running', 'Succeeded', 'Failed', 'Unknown']),
  reason: z.string().exactOptional(),
  message: z.string().exactOptional(),
  podIP: z.string().exactOptional(),
  podIPs: z.array(z.looseObject({ ip: z.string() })).exactOptional(),
  hostIP: z.string().exactOptional(),
  startTime: z.string().exactOptional(),
  conditions: conditions.exactOptional(),
  containerStatuses: z
    .array(
      z.looseObject({
        name: z.string(),
        image: z.string(),
        ready: z.boolean(),
        restartCount: z.int(),
        containerID: z.string().exactOptional(),
        state: containerState,
      }),
    )
    .exactOptional(),
})

export const NODE_STATUS_SCHEMA: z.ZodType<NodeStatus> = z.looseObject({
  addresses: z.array(z.looseObject({ type: z.enum(['InternalIP', 'Hostname']), address: z.string() })),
  conditions,
  network: z.looseObject({ underlayAddress: z.string(), vtepMac: z.string(), mtuBytes: z.int() }),
  nodeInfo: z
    .looseObject({
      polderVersion: z.string(),
      kernelVersion: z.string(),
      osImage: z.string(),
      containerRuntimeVersion: z.string().exactOptional(),
      machineID: z.string().exactOptional(),
      bootID: z.string().exactOptional(),
    })
    .exactOptional(),
})
