/** Labelled values in aligned, nested lines: the layout of `describe`. */
export type Field = [label: string, value: string | string[] | Field[] | undefined]

/** Fields with an undefined value are left out; an empty list reads `<none>`; a list of fields is indented below. */
export function formatFields(fields: Field[], indent = ''): string {
  const present = fields.filter(([, value]) => value !== undefined)
  const inline = present.filter(([, value]) => !isNested(value))
  const width = Math.max(0, ...inline.map(([label]) => label.length + 1)) + 2
  return present.map((field) => formatField(field, indent, width)).join('')
}

function formatField([label, value]: Field, indent: string, width: number): string {
  if (isNested(value)) return `${indent}${label}:\n${formatFields(value, `${indent}  `)}`
  const lines = typeof value === 'string' ? value.split('\n') : value!
  const first = `${indent}${`${label}:`.padEnd(width)}${lines[0] ?? '<none>'}`
  const rest = lines.slice(1).map((line) => `${indent}${' '.repeat(width)}${line}`)
  return `${[first, ...rest].map((line) => line.trimEnd()).join('\n')}\n`
}

function isNested(value: Field[1]): value is Field[] {
  return Array.isArray(value) && Array.isArray(value[0])
}
