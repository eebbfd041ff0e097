/**
 * The error every part of polderd throws for what a user can mend: `message` says what is wrong and where, `remedy`
 * what to do about it, `code` is a stable word for programs. The API and the CLI print both.
 */
export class PolderError extends Error {
  readonly code: string
  readonly remedy: string

  constructor(code: string, message: string, remedy: string) {
    super(message)
    this.name = 'PolderError'
    this.code = code
    this.remedy = remedy
  }
}
