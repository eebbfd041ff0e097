/**
 * A typed face of what polder calls of containerd over its Unix socket: the Container Runtime Interface (runtime.v1,
 * spoken by containerd 1.6, 1.7 and 2.x) for pods and images, and containerd's own tasks and containers services for
 * exec (exec.ts says why). The messages are described by the .proto files beside this one; the types here name the
 * same fields, all optional in what is sent.
 *
 * It does not retry: the reconciler is level-triggered and comes again. `int64` arrives as a string.
 */
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { PolderError } from '../../errors.ts'

export const SANDBOX_READY = 0
export const CONTAINER_CREATED = 0
export const CONTAINER_RUNNING = 1
export const CONTAINER_EXITED = 2
/** Namespace modes. The zero, POD, is one namespace for all containers of the pod. */
export const NAMESPACE_POD = 0
export const NAMESPACE_CONTAINER = 1
export const NAMESPACE_NODE = 2

/** The containerd namespace in which its CRI service keeps everything. */
const CONTAINERD_NAMESPACE = 'k8s.io'
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024
const CALL_TIMEOUT_MS = 120_000

export interface SandboxConfig {
  metadata: { name: string; uid: string; namespace: string; attempt: number }
  hostname: string
  log_directory: string
  dns_config?: { servers: string[]; searches: string[]; options: string[] }
  port_mappings: { protocol: number; container_port: number; host_port: number; host_ip: string }[]
  labels: Record<string, string>
  annotations: Record<string, string>
  linux: { security_context: { namespace_options: NamespaceOptions; privileged: boolean } }
}

export interface NamespaceOptions {
  network: number
  pid: number
  ipc: number
}

export interface ContainerConfig {
  metadata: { name: string; attempt: number }
  image: { image: string }
  command: string[]
  args: string[]
  working_dir: string
  envs: { key: string; value: Uint8Array }[]
  labels: Record<string, string>
  annotations: Record<string, string>
  log_path: string
  stdin: boolean
  tty: boolean
  linux: {
    security_context: {
      capabilities: { add_capabilities: string[]; drop_capabilities: string[] }
      privileged: boolean
      namespace_options: NamespaceOptions
      masked_paths: string[]
      readonly_paths: string[]
    }
  }
}

export interface Sandbox {
  id: string
  metadata: { name: string; uid: string; namespace: string; attempt: number }
  state: number
  created_at: string
  labels: Record<string, string>
  annotations: Record<string, string>
}

export interface Container {
  id: string
  pod_sandbox_id: string
  metadata: { name: string; attempt: number }
  state: number
  created_at: string
  labels: Record<string, string>
  annotations: Record<string, string>
}

export interface ContainerStatus {
  id: string
  state: number
  started_at: string
  finished_at: string
  exit_code: number
  reason: string
  message: string
  log_path: string
}

type LabelFilter = { filter: { label_selector: Record<string, string> } }

/** Every call with what goes in and what comes out; the name before the dot is the service. */
interface Calls {
  'runtime.Version': [Record<string, never>, { runtime_name: string; runtime_version: string }]
  'runtime.RunPodSandbox': [{ config: SandboxConfig }, { pod_sandbox_id: string }]
  'runtime.StopPodSandbox': [{ pod_sandbox_id: string }, unknown]
  'runtime.RemovePodSandbox': [{ pod_sandbox_id: string }, unknown]
  'runtime.PodSandboxStatus': [
    { pod_sandbox_id: string },
    { status: { network?: { ip: string; additional_ips: { ip: string }[] } } },
  ]
  'runtime.ListPodSandbox': [LabelFilter, { items: Sandbox[] }]
  'runtime.CreateContainer': [
    { pod_sandbox_id: string; config: ContainerConfig; sandbox_config: SandboxConfig },
    { container_id: string },
  ]
  'runtime.StartContainer': [{ container_id: string }, unknown]
  'runtime.StopContainer': [{ container_id: string; timeout: number }, unknown]
  'runtime.RemoveContainer': [{ container_id: string }, unknown]
  'runtime.ReopenContainerLog': [{ container_id: string }, unknown]
  'runtime.ListContainers': [LabelFilter, { containers: Container[] }]
  'runtime.ContainerStatus': [{ container_id: string }, { status: ContainerStatus }]
  'images.ImageStatus': [{ image: { image: string } }, { image?: { id: string } }]
  'images.PullImage': [{ image: { image: string } }, { image_ref: string }]
  'containers.Get': [{ id: string }, { container: { spec: { value: Buffer } } }]
  'tasks.Exec': [
    {
      container_id: string
      exec_id: string
      stdin: string
      stdout: string
      stderr: string
      terminal: boolean
      spec: { type_url: string; value: Uint8Array }
    },
    unknown,
  ]
  'tasks.Start': [ProcessId, { pid: number }]
  'tasks.Wait': [ProcessId, { exit_status: number }]
  'tasks.Kill': [ProcessId & { signal: number }, unknown]
  'tasks.CloseIO': [ProcessId & { stdin: boolean }, unknown]
  'tasks.ResizePty': [ProcessId & { width: number; height: number }, unknown]
  'tasks.DeleteProcess': [ProcessId, unknown]
}

export interface ProcessId {
  container_id: string
  exec_id: string
}

export interface CallOptions {
  /** `Infinity`: as long as it takes (an image pull, a process that is waited for). */
  timeoutMs?: number
}

export interface ContainerdClient {
  call<Name extends keyof Calls>(name: Name, request: Calls[Name][0], options?: CallOptions): Promise<Calls[Name][1]>
  close(): void
}

/** Connects when first called and again whenever containerd comes back; never throws here. */
export function connectContainerd(socketPath: string): ContainerdClient {
  const services = openServices(`unix://${socketPath}`)
  const metadata = new grpc.Metadata()
  metadata.set('containerd-namespace', CONTAINERD_NAMESPACE)
  return {
    call: (name, request, options) =>
      new Promise((resolve, reject) => {
        const [service, method] = name.split('.') as [keyof typeof services, string]
        const timeoutMs = options?.timeoutMs ?? CALL_TIMEOUT_MS
        const deadline = timeoutMs === Infinity ? {} : { deadline: Date.now() + timeoutMs }
        const client = services[service] as unknown as Record<string, UnaryMethod>
        client[method]!(request, metadata, deadline, (error, response) => {
          if (error === null) resolve(response as never)
          else reject(explain(error, name, socketPath))
        })
      }),
    close: () => {
      for (const client of Object.values(services)) client.close()
    },
  }
}

type UnaryMethod = (
  request: unknown,
  metadata: grpc.Metadata,
  options: grpc.CallOptions,
  done: (error: grpc.ServiceError | null, response: unknown) => void,
) => void

function openServices(address: string) {
  const files = ['cri.proto', 'tasks.proto', 'containers.proto'].map((name) => `${import.meta.dirname}/${name}`)
  const definition = loadSync(files, { keepCase: true, longs: String, defaults: true, arrays: true, objects: true })
  const channelOptions: grpc.ChannelOptions = {
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_reconnect_backoff_ms': 1000,
    // A proxy meant for the world has no business between polderd and a Unix socket.
    'grpc.enable_http_proxy': 0,
  }
  const open = (service: string) =>
    new (grpc.makeClientConstructor(definition[service] as grpc.ServiceDefinition, service))(
      address,
      grpc.credentials.createInsecure(),
      channelOptions,
    )
  return {
    runtime: open('runtime.v1.RuntimeService'),
    images: open('runtime.v1.ImageService'),
    containers: open('containerd.services.containers.v1.Containers'),
    tasks: open('containerd.services.tasks.v1.Tasks'),
  }
}

function explain(error: grpc.ServiceError, call: string, socketPath: string): PolderError {
  if (error.code === grpc.status.UNAVAILABLE || error.code === grpc.status.DEADLINE_EXCEEDED)
    return new PolderError(
      'containerd-unreachable',
      `containerd does not answer ${call} on ${socketPath}: ${error.details}`,
      'Start containerd (systemctl start containerd), or name its socket in containerdSocket.',
    )
  if (error.code === grpc.status.UNIMPLEMENTED)
    return new PolderError(
      'containerd-without-cri',
      `containerd on ${socketPath} does not serve ${call}.`,
      'Remove "cri" from disabled_plugins in /etc/containerd/config.toml and restart containerd (1.6 or newer).',
    )
  const code = error.code === grpc.status.NOT_FOUND ? 'not-found' : 'containerd'
  return new PolderError(code, error.details, `containerd refused ${call}: its own log says more.`)
}
