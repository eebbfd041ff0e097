/**
 * The API on polderd's Unix socket: HTTP/1.1 and JSON. Shapes only: the CLI imports this file.
 *
 *   GET    /v1/node                                   NodeInfo of the polderd that answers
 *   GET    /v1/objects/KIND[?namespace=NS]            ClusterObject[]       KIND as in manifests: Pod, Node, Namespace
 *   GET    /v1/objects/KIND/NS/NAME                   ClusterObject         NS is `-` for kinds without namespace
 *   PUT    /v1/objects                                ClusterObject -> PutAnswer
 *   DELETE /v1/objects/KIND/NS/NAME[?wait=SECONDS][&grace=SECONDS][&force=true]
 *                                                     DeleteAnswer, 404 where absent; a namespace takes its pods along
 *   GET    /v1/problems                               Problem[] of the store
 *   GET    /v1/attachments                            Attachment[] of this node
 *   GET    /v1/findings                               Finding[]: what is wrong on this node, looked at now
 *   GET    /v1/counters                               Counters of this node's data path
 *   GET    /v1/flows[?address=&port=&protocol=&limit=] FlowsAnswer of this node's data path
 *   GET    /v1/pods/NS/NAME/log?container=&follow=&tail=&timestamps=   text/plain, streamed; only on the pod's node
 *   POST   /v1/pods/NS/NAME/exec   Upgrade: polder-exec, body-less, ExecRequest as JSON in the query `request`;
 *                                  only on the pod's node; after 101 both sides send frames (EXEC_*)
 *   POST   /cni                                       the CNI verbs: see daemon/cni/README.md
 *
 * Every error is an ApiError with a 4xx or 5xx status.
 */
import type { FlowRecord, FlowTotals } from '../../packet/tables/flow-list.ts'
import type { PutResult } from '../cluster/store.ts'

export interface ApiError {
  error: { code: string; message: string; remedy: string }
}

export interface PutAnswer {
  result: PutResult
}

export interface DeleteAnswer {
  /** Only when asked to `wait`, and of a pod: whether it had ended before the time was up, and its node held nothing of it. */
  gone?: boolean
}

export interface NodeInfo {
  name: string
  version: string
  pid: number
  startedAt: string
  podCIDRs: string[]
  gateways: string[]
  underlayAddress: string
  mtuBytes: number
}

export interface Counters {
  /** Packets and bytes taken in, by entrance; a super-packet counts once. */
  entrances: { name: 'from-pod' | 'from-peer' | 'from-host'; packets: number; bytes: number }[]
  /** Packets not delivered, by reason; only reasons that occurred. */
  drops: { reason: string; text: string; packets: number }[]
  /** ICMP errors that told a sender why. */
  answers: number
  flows: FlowTotals
  /** Packets that the kernel threw away because polderd did not fetch them in time. */
  queues: { name: 'pods' | 'polder0' | 'underlay'; full: number }[]
}

export interface FlowsAnswer {
  flows: FlowRecord[]
  /** How many there are, if there were no limit. */
  matching: number
}

export interface Finding {
  /** A stable word: `forwarding-off`. */
  id: string
  /** error: something does not work; warning: it may not, or not for long; info: good to know. */
  severity: 'error' | 'warning' | 'info'
  message: string
  remedy: string
}

export interface ExecRequest {
  container?: string
  command: string[]
  tty?: boolean
  stdin?: boolean
}

/**
 * Exec frames: 1 byte channel, 4 bytes big-endian payload length, payload. An empty EXEC_STDIN frame is end of file.
 * EXEC_EXIT carries `{"exitCode": n}` or an ApiError and is the last frame of the server. EXEC_RESIZE carries
 * `{"columns": n, "rows": n}`; 0 is a size that is not known, and changes nothing.
 */
export const EXEC_STDIN = 0
export const EXEC_STDOUT = 1
export const EXEC_STDERR = 2
export const EXEC_EXIT = 3
export const EXEC_RESIZE = 4
