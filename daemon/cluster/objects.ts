/**
 * Kubernetes-shaped objects as polder uses them: the fields it acts on, typed. Validation of what comes from outside
 * (manifests, store files) is in schema.ts; this file holds shapes only, so that the CLI can import it for free.
 */
import type { Lifecycle, Probe } from './probe-objects.ts'
import type { EndpointSlice, Service } from './service-objects.ts'

export interface Metadata {
  name: string
  namespace?: string
  uid?: string
  creationTimestamp?: string
  labels?: Record<string, string>
  annotations?: Record<string, string>
  /** Of a pod that is being deleted: when it must have ended (deletion.ts). */
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
}

export interface Condition {
  type: string
  status: 'True' | 'False' | 'Unknown'
  reason?: string
  message?: string
  lastHeartbeatTime?: string
  lastTransitionTime?: string
}

/** How a node reaches others: in VXLAN, directly on one link, or directly where that is possible. */
export type Encapsulation = 'vxlan' | 'none' | 'auto'

/** What a peer needs to know to reach this node's pods. */
export interface NodeNetwork {
  underlayAddress: string
  vtepMac: string
  /** Largest IP packet, in bytes, that the node's pods may receive. */
  mtuBytes: number
  /** `underlayAddress`, and the address of the other family on the same interface, if it has one. */
  underlayAddresses?: string[]
  /** Absent: `vxlan`. */
  encapsulation?: Encapsulation
}

export interface NodeSystemInfo {
  polderVersion: string
  kernelVersion: string
  osImage: string
  containerRuntimeVersion?: string
  /** A digest of /etc/machine-id, where there is one. */
  machineID?: string
  bootID?: string
}

export interface NodeStatus {
  addresses: { type: 'InternalIP' | 'Hostname'; address: string }[]
  conditions: Condition[]
  network: NodeNetwork
  nodeInfo?: NodeSystemInfo
}

/**
 * A node written by hand (no polderd publishes its status into this store) is reached by its annotations
 * `polder/underlay-address`, `polder/vtep-mac` where the peer is not a polder, and `polder/encapsulation`.
 */
export interface Node {
  apiVersion: 'v1'
  kind: 'Node'
  metadata: Metadata
  spec: { podCIDRs: string[] }
  status?: NodeStatus
}

export interface Namespace {
  apiVersion: 'v1'
  kind: 'Namespace'
  metadata: Metadata
  status?: { phase: 'Active' }
}

export interface EnvVar {
  name: string
  value?: string
  valueFrom?: { fieldRef: { fieldPath: string } }
}

export interface ContainerPort {
  name?: string
  containerPort: number
  protocol?: 'TCP' | 'UDP' | 'SCTP'
  /** A port of the node that leads to it; 0: none. */
  hostPort?: number
  hostIP?: string
}

export interface Container {
  name: string
  image: string
  imagePullPolicy?: 'Always' | 'IfNotPresent' | 'Never'
  command?: string[]
  args?: string[]
  workingDir?: string
  env?: EnvVar[]
  ports?: ContainerPort[]
  tty?: boolean
  stdin?: boolean
  startupProbe?: Probe
  readinessProbe?: Probe
  livenessProbe?: Probe
  lifecycle?: Lifecycle
  securityContext?: { privileged?: boolean; capabilities?: { add?: string[]; drop?: string[] } }
}

export interface PodSpec {
  containers: Container[]
  nodeName?: string
  hostNetwork?: boolean
  hostname?: string
  restartPolicy?: 'Always' | 'OnFailure' | 'Never'
  terminationGracePeriodSeconds?: number
  /** `netns`: a bare network namespace, /run/netns/NAME on its node, without any container. */
  runtimeClassName?: string
}

export interface ContainerStatus {
  name: string
  image: string
  ready: boolean
  restartCount: number
  containerID?: string
  state: {
    waiting?: { reason: string; message?: string }
    running?: { startedAt: string }
    terminated?: { exitCode: number; reason?: string; message?: string; startedAt?: string; finishedAt?: string }
  }
}

export type PodPhase = 'Pending' | 'Running' | 'Succeeded' | 'Failed' | 'Unknown'

export interface PodStatus {
  /** Where the pod is bound; `spec.nodeName`, where given, says the same. */
  nodeName?: string
  phase: PodPhase
  reason?: string
  message?: string
  podIP?: string
  podIPs?: { ip: string }[]
  hostIP?: string
  startTime?: string
  conditions?: Condition[]
  containerStatuses?: ContainerStatus[]
}

export interface Pod {
  apiVersion: 'v1'
  kind: 'Pod'
  metadata: Metadata
  spec: PodSpec
  status?: PodStatus
}

export type ClusterObject = Node | Namespace | Pod | Service | EndpointSlice
export type Kind = ClusterObject['kind']

/** Whether objects of a kind lie in namespaces. */
export const NAMESPACED: Record<Kind, boolean> = {
  Pod: true,
  Node: false,
  Namespace: false,
  Service: true,
  EndpointSlice: true,
}

export interface ObjectKey {
  kind: Kind
  name: string
  /** Present exactly for namespaced kinds. */
  namespace?: string
}

/** The node a pod is bound to, or undefined while it is not. */
export function nodeOf(pod: Pod): string | undefined {
  return pod.spec.nodeName ?? pod.status?.nodeName
}

/** The addresses at which the other nodes reach it: where it says nothing, those that a person gave it. */
export function addressesOf({ metadata, status }: Node): string[] {
  const annotated = metadata.annotations?.['polder/underlay-address']
  const own = status?.network.underlayAddresses ?? (status === undefined ? [] : [status.network.underlayAddress])
  return [...new Set([...(annotated === undefined ? [] : [annotated]), ...own])]
}
