/**
 * What containerd is asked for, from a Pod manifest: the sandbox's and each container's configuration. Pure; it fills
 * in what the kubelet does (labels that crictl and others read, masked paths, one PID namespace for each container).
 *
 * Both carry a hash of the part of the manifest they were made from: another hash means that they must be made again.
 */
import { createHash } from 'node:crypto'
import type { Container, EnvVar, Pod } from '../../cluster/objects.ts'
import { wantedHostPorts } from '../../host-ports/port-mapping.ts'
import type { ContainerConfig, NamespaceOptions, SandboxConfig } from './client.ts'
import { NAMESPACE_CONTAINER, NAMESPACE_NODE, NAMESPACE_POD } from './client.ts'

/** Marks what polder made: nothing without it is ever touched. */
export const LABEL_RUNNER = 'polder/runner'
export const LABEL_POD_NAME = 'io.kubernetes.pod.name'
export const LABEL_POD_NAMESPACE = 'io.kubernetes.pod.namespace'
export const LABEL_POD_UID = 'io.kubernetes.pod.uid'
export const LABEL_CONTAINER_NAME = 'io.kubernetes.container.name'
export const ANNOTATION_HASH = 'polder/spec-hash'
/** A deleted pod is in no store any more when its containers are stopped: the sandbox remembers its patience. */
export const ANNOTATION_GRACE = 'polder/termination-grace-period-seconds'

const CRI_PROTOCOLS = { TCP: 0, UDP: 1, SCTP: 2 } as const

const DEFAULT_GRACE_SECONDS = 30

/** What a container may not see or write of the node's kernel unless it is privileged (Kubernetes' default procMount). */
const MASKED_PATHS = [
  ...['asound', 'acpi', 'interrupts', 'kcore', 'keys', 'latency_stats', 'timer_list', 'timer_stats', 'sched_debug'].map(
    (name) => `/proc/${name}`,
  ),
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
]
const READONLY_PATHS = ['bus', 'fs', 'irq', 'sys', 'sysrq-trigger'].map((name) => `/proc/${name}`)

/** What of the node a pod can be told, and what its DNS configuration is. */
export interface NodeFacts {
  nodeName: string
  /** The node's own addresses, IPv4 first: the addresses of a hostNetwork pod. */
  hostIPs: string[]
  /** Where the pods' log folders stand, as kubelets have it: /var/log/pods. */
  logRoot: string
  /** Absent: containerd copies the node's /etc/resolv.conf. */
  dns?: SandboxConfig['dns_config']
}

export function podUid(pod: Pod): string {
  return pod.metadata.uid ?? hash([pod.metadata.namespace, pod.metadata.name])
}

export function podNamespace(pod: Pod): string {
  return pod.metadata.namespace ?? 'default'
}

export function logDirectory(logRoot: string, namespace: string, name: string, uid: string): string {
  return `${logRoot}/${namespace}_${name}_${uid}`
}

export function sandboxHash(pod: Pod): string {
  const hostPorts = wantedHostPorts(pod.spec)
  const rest = hostPorts.length === 0 ? [] : [hostPorts]
  return hash([podUid(pod), pod.spec.hostNetwork === true, hostname(pod), isPrivileged(pod), ...rest])
}

/**
 * Takes the sandbox in: with another sandbox every container is another one. Probes and hooks are the runner's: a container
 * need not be made again for them.
 */
export function containerHash(pod: Pod, container: Container): string {
  const {
    startupProbe: _startup,
    readinessProbe: _readiness,
    livenessProbe: _liveness,
    lifecycle: _hooks,
    ...made
  } = container
  return hash([sandboxHash(pod), made])
}

export function sandboxConfig(pod: Pod, attempt: number, facts: NodeFacts): SandboxConfig {
  const namespace = podNamespace(pod)
  const { name } = pod.metadata
  const uid = podUid(pod)
  const config: SandboxConfig = {
    metadata: { name, uid, namespace, attempt },
    hostname: pod.spec.hostNetwork === true ? '' : hostname(pod),
    log_directory: logDirectory(facts.logRoot, namespace, name, uid),
    port_mappings: wantedHostPorts(pod.spec).map(({ protocol, hostPort, containerPort, hostIP = '' }) => ({
      protocol: CRI_PROTOCOLS[protocol],
      container_port: containerPort,
      host_port: hostPort,
      host_ip: hostIP,
    })),
    labels: { ...pod.metadata.labels, ...identityLabels(pod) },
    annotations: {
      [ANNOTATION_HASH]: sandboxHash(pod),
      [ANNOTATION_GRACE]: String(pod.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS),
    },
    linux: { security_context: { namespace_options: namespaceOptions(pod), privileged: isPrivileged(pod) } },
  }
  if (facts.dns !== undefined) config.dns_config = facts.dns
  return config
}

/** `attempt` counts the restarts; `podIPs` are what the sandbox got. */
export function containerConfig(
  pod: Pod,
  container: Container,
  attempt: number,
  podIPs: string[],
  facts: NodeFacts,
): ContainerConfig {
  const privileged = container.securityContext?.privileged === true
  const capabilities = container.securityContext?.capabilities
  return {
    metadata: { name: container.name, attempt },
    image: { image: container.image },
    command: container.command ?? [],
    args: container.args ?? [],
    working_dir: container.workingDir ?? '',
    envs: (container.env ?? []).map((entry) => ({
      key: entry.name,
      value: Buffer.from(envValue(entry, pod, podIPs, facts)),
    })),
    labels: { ...identityLabels(pod), [LABEL_CONTAINER_NAME]: container.name },
    annotations: { [ANNOTATION_HASH]: containerHash(pod, container) },
    log_path: `${container.name}/${attempt}.log`,
    stdin: container.stdin === true,
    tty: container.tty === true,
    linux: {
      security_context: {
        capabilities: { add_capabilities: capabilities?.add ?? [], drop_capabilities: capabilities?.drop ?? [] },
        privileged,
        namespace_options: namespaceOptions(pod),
        masked_paths: privileged ? [] : MASKED_PATHS,
        readonly_paths: privileged ? [] : READONLY_PATHS,
      },
    },
  }
}

function identityLabels(pod: Pod): Record<string, string> {
  return {
    [LABEL_RUNNER]: 'true',
    [LABEL_POD_NAME]: pod.metadata.name,
    [LABEL_POD_NAMESPACE]: podNamespace(pod),
    [LABEL_POD_UID]: podUid(pod),
  }
}

function namespaceOptions(pod: Pod): NamespaceOptions {
  const network = pod.spec.hostNetwork === true ? NAMESPACE_NODE : NAMESPACE_POD
  return { network, pid: NAMESPACE_CONTAINER, ipc: NAMESPACE_POD }
}

function isPrivileged(pod: Pod): boolean {
  return pod.spec.containers.some((container) => container.securityContext?.privileged === true)
}

/** A host name has at most 63 characters, a pod name 253. */
function hostname(pod: Pod): string {
  return (pod.spec.hostname ?? pod.metadata.name).slice(0, 63).replace(/[-.]+$/, '')
}

function envValue(entry: EnvVar, pod: Pod, podIPs: string[], facts: NodeFacts): string {
  if (entry.valueFrom === undefined) return entry.value ?? ''
  const { fieldPath } = entry.valueFrom.fieldRef
  const keyed = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(fieldPath)
  if (keyed !== null) return pod.metadata[keyed[1] as 'labels' | 'annotations']?.[keyed[2]!] ?? ''
  switch (fieldPath) {
    case 'metadata.name':
      return pod.metadata.name
    case 'metadata.namespace':
      return podNamespace(pod)
    case 'metadata.uid':
      return podUid(pod)
    case 'spec.nodeName':
      return facts.nodeName
    case 'status.hostIP':
      return facts.hostIPs[0] ?? ''
    case 'status.podIP':
      return podIPs[0] ?? ''
    case 'status.podIPs':
      return podIPs.join(',')
    default:
      // The manifest's schema lets no other path in.
      return ''
  }
}

/** The same for the same content, whatever the order of its keys. */
function hash(content: unknown): string {
  const canonical = JSON.stringify(content, (_key, value: unknown) =>
    value !== null && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  )
  return createHash('sha256').update(canonical).digest('hex').slice(0, 16)
}
