/**
 * What goes wrong in a talk with the kernel over rtnetlink: the operation in words, the errno and its name, and the
 * kernel's own sentence (extended ack) where it sent one. A message that cannot be decoded is EPROTO.
 */
import { getSystemErrorMap } from 'node:util'

export const EINTR = 4
export const EINVAL = 22
export const EMSGSIZE = 90
export const EPROTO = 71

const ERRORS = getSystemErrorMap()

export class NetlinkError extends Error {
  /** Positive, as in errno.h. */
  readonly errno: number
  /** Its name: `EEXIST`. */
  readonly code: string
  /** What was tried: `add address 10.244.1.1/32`. */
  readonly operation: string

  constructor(operation: string, errno: number, detail?: string) {
    const [code, text] = ERRORS.get(-errno) ?? [`E${errno}`, 'unknown error']
    super(`${operation}: ${detail || text} (${code})`)
    this.name = 'NetlinkError'
    this.errno = errno
    this.code = code
    this.operation = operation
  }
}

export function malformed(detail: string): NetlinkError {
  return new NetlinkError('read a netlink message', EPROTO, detail)
}
