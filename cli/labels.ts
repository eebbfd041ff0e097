/** Labels as people write them on a command line: `app=web,tier=front`, to set or to select by. */
import { PolderError } from '../daemon/errors.ts'

/** What must be equal (`=`, `==`), different (`!=`), present (`key`) or absent (`!key`). */
type Requirement = { key: string; value?: string; negated: boolean }

export function parseLabels(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const part of splitList(text)) {
    const equals = part.indexOf('=')
    if (equals <= 0) throw invalidLabels(part, 'Write labels as key=value,key=value.')
    labels[part.slice(0, equals)] = part.slice(equals + 1)
  }
  return labels
}

export function parseSelector(text: string): (labels: Record<string, string> | undefined) => boolean {
  const requirements = splitList(text).map(parseRequirement)
  return (labels = {}) =>
    requirements.every(({ key, value, negated }) => {
      const matches = value === undefined ? Object.hasOwn(labels, key) : labels[key] === value
      return matches !== negated
    })
}

function parseRequirement(part: string): Requirement {
  const found = /^(!?)([A-Za-z0-9][\w./-]*)(?:(!=|==?)([\w.-]*))?$/.exec(part)
  const [, bang, key, operator, value] = found ?? []
  if (key === undefined || (bang === '!' && operator !== undefined)) {
    throw invalidLabels(part, 'Write a selector as key=value, key!=value, key or !key, with commas between.')
  }
  return { key, negated: bang === '!' || operator === '!=', ...(value === undefined ? {} : { value }) }
}

function splitList(text: string): string[] {
  const parts = text.split(',').map((part) => part.trim())
  return parts.filter((part) => part !== '')
}

function invalidLabels(part: string, remedy: string): PolderError {
  return new PolderError('invalid', `"${part}" is not understood.`, remedy)
}
