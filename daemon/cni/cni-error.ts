/**
 * What goes wrong in a CNI call, as the runtime gets it: a code, a sentence, and what to do about it (`details`).
 * Codes below 100 are the specification's, those from 100 polder's own.
 */
import { PolderError } from '../errors.ts'

export const INCOMPATIBLE_VERSION = 1
export const UNSUPPORTED_FIELD = 2
export const UNKNOWN_CONTAINER = 3
export const INVALID_ENVIRONMENT = 4
export const IO_FAILURE = 5
export const DECODING_FAILURE = 6
export const INVALID_NETWORK_CONFIG = 7
export const TRY_AGAIN_LATER = 11
export const NOT_AVAILABLE = 50
export const INTERFACE_EXISTS = 100
export const NO_ADDRESS_LEFT = 101
export const CHECK_FAILED = 102
export const DEVICE_FAILED = 103
export const ADDRESS_UNAVAILABLE = 104
export const GC_INCOMPLETE = 105
export const HOST_PORT_TAKEN = 106
export const HOST_PORT_FAILED = 107
export const UNEXPECTED = 199

const CODES: Record<string, number> = {
  exists: INTERFACE_EXISTS,
  'no-address-left': NO_ADDRESS_LEFT,
  'address-unavailable': ADDRESS_UNAVAILABLE,
  'check-failed': CHECK_FAILED,
  'device-failed': DEVICE_FAILED,
  'host-port-taken': HOST_PORT_TAKEN,
  'host-port-unavailable': HOST_PORT_FAILED,
  'no-nft': HOST_PORT_FAILED,
  'nft-refused': HOST_PORT_FAILED,
  'not-ready': TRY_AGAIN_LATER,
  'not-written': IO_FAILURE,
}

export class CniError extends Error {
  readonly code: number
  readonly details: string

  constructor(code: number, message: string, details: string) {
    super(message)
    this.name = 'CniError'
    this.code = code
    this.details = details
  }
}

/** Any error of the attachments, in CNI's terms. */
export function toCniError(error: unknown): CniError {
  if (error instanceof CniError) return error
  if (!(error instanceof PolderError)) {
    return new CniError(UNEXPECTED, error instanceof Error ? error.message : String(error), "see polderd's log")
  }
  // The specification wants the variable named.
  if (error.code === 'netns-missing')
    return new CniError(INVALID_ENVIRONMENT, `CNI_NETNS ${error.message}`, error.remedy)
  return new CniError(CODES[error.code] ?? UNEXPECTED, error.message, error.remedy)
}
