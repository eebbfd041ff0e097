/**
 * Errors as the API answers them: an ApiError body for whatever was thrown, and the HTTP status that its code means.
 * Codes without an entry are mistakes in the request (400); what is no PolderError is ours (500) and goes to the log.
 */
import { PolderError } from '../errors.ts'
import type { ApiError } from './types.ts'

const STATUS_OF_CODE: Record<string, number> = {
  'not-found': 404,
  'unknown-path': 404,
  'unknown-kind': 404,
  'wrong-method': 405,
  conflict: 409,
  exists: 409,
  'too-large': 413,
  'wrong-node': 421,
  'upgrade-required': 426,
  'no-runtime': 501,
  'not-ready': 503,
  'not-written': 507,
  'node-name-taken': 409,
}

export interface ErrorAnswer {
  status: number
  body: ApiError
}

export function answerError(error: unknown): ErrorAnswer {
  if (error instanceof PolderError) {
    const { code, message, remedy } = error
    return { status: STATUS_OF_CODE[code] ?? 400, body: { error: { code, message, remedy } } }
  }
  const message = error instanceof Error ? error.message : String(error)
  return {
    status: 500,
    body: {
      error: {
        code: 'internal',
        message: `polderd failed: ${message}`,
        remedy: "This is a fault of polder: its log (journalctl -u polderd, or 'polder lab status') has the details.",
      },
    },
  }
}

export function invalid(message: string, remedy: string): PolderError {
  return new PolderError('invalid', message, remedy)
}
