/**
 * Finds the functions in a program and how many lines each takes, by counting braces: no parser, so it relies on what
 * the formatters see to. In TypeScript a function's body is a `{` after a parameter list (with or without a type) or an
 * arrow; in C and shell it opens on a line that is not indented and ends at the next `}` that is not.
 *
 * A function counts with all that is defined inside it. `describe` of a test is a chapter, not a function.
 */
import { type Language, lineAt } from './tree.ts'

export interface FunctionSize {
  /** Line of the opening brace. */
  line: number
  lines: number
}

const CONTROL = new Set(['if', 'for', 'while', 'switch', 'catch', 'with'])
const CLOSING: Record<string, string> = { ')': '(', ']': '[', '}': '{', '>': '<' }

export function functionsOf(text: string, language: Language): FunctionSize[] {
  if (language === 'typescript') return functionsOfTypescript(text)
  if (language !== 'c' && language !== 'shell') return []
  const header = language === 'c' ? /^\w.*\)\s*\{$/ : /^[\w-]+\(\)\s*[{(]$/
  const found: FunctionSize[] = []
  const lines = text.split('\n')
  for (const [index, line] of lines.entries()) {
    if (!header.test(line)) continue
    const end = lines.findIndex((candidate, at) => at > index && /^[})]/.test(candidate))
    found.push({ line: index + 1, lines: end - index + 1 })
  }
  return found
}

function functionsOfTypescript(text: string): FunctionSize[] {
  const code = maskTypescript(text)
  const found: FunctionSize[] = []
  const open: { at: number; isFunction: boolean }[] = []
  for (let at = 0; at < code.length; at++) {
    if (code[at] === '{') open.push({ at, isFunction: opensFunction(code, at) })
    if (code[at] !== '}') continue
    const begin = open.pop()
    if (begin === undefined) throw new Error(`line ${lineAt(text, at)}: a closing brace too many`)
    if (!begin.isFunction) continue
    const line = lineAt(text, begin.at)
    found.push({ line, lines: lineAt(text, at) - line + 1 })
  }
  if (open.length > 0) throw new Error(`line ${lineAt(text, open[0]!.at)}: this brace is never closed`)
  return found
}

function opensFunction(code: string, at: number): boolean {
  const before = code.slice(0, at).trimEnd()
  if (before.endsWith('=>')) {
    const line = before.slice(before.lastIndexOf('\n') + 1)
    return !/^\s*describe\b/.test(line)
  }
  const parameters = before.endsWith(')') ? before.length - 1 : beforeReturnType(before)
  if (parameters === undefined) return false
  const start = matching(before, parameters)
  const word = before.slice(0, start).match(/([\w$]+)\s*$/)?.[1]
  return !CONTROL.has(word ?? '')
}

/** Where `)` stands when `before` ends in `): Type`, on one line but for what is in brackets; undefined when it does not. */
function beforeReturnType(before: string): number | undefined {
  for (let at = before.length - 1; at >= 0; at--) {
    const character = before[at]!
    if (character === '>' && before[at - 1] !== '=') at = matching(before, at)
    else if (character === ')' || character === ']' || character === '}') at = matching(before, at)
    else if (/[\n;{([,=?]/.test(character)) return undefined
    else if (character === ':') {
      const colon = before.slice(0, at).trimEnd()
      return colon.endsWith(')') ? colon.length - 1 : undefined
    }
  }
  return undefined
}

/** The offset of the bracket that the closing one at `at` belongs to; 0 where there is none. */
function matching(code: string, at: number): number {
  const closing = code[at]!
  const opening = CLOSING[closing]!
  let depth = 0
  for (; at > 0; at--) {
    if (code[at] === closing && !(closing === '>' && code[at - 1] === '=')) depth++
    else if (code[at] === opening && --depth === 0) return at
  }
  return 0
}

/**
 * The same text with comments, templates, regular expressions and what is between quotes blanked: what is left stands
 * where it stood.
 */
export function maskTypescript(text: string): string {
  let masked = ''
  let at = 0
  while (at < text.length) {
    const end = endOfLiteral(text, at, masked)
    if (end === undefined) masked += text[at++]
    else {
      const literal = text.slice(at, end)
      masked += literal.replace(/[^\n]/g, (byte, i) => (/^['"]/.test(literal) && i % (end - at - 1) === 0 ? byte : ' '))
      at = end
    }
  }
  return masked
}

/** Where what begins at `at` ends, if it is a comment, string, template or regular expression. */
function endOfLiteral(text: string, at: number, before: string): number | undefined {
  const rest = (pattern: RegExp): number | undefined => {
    pattern.lastIndex = at
    return pattern.test(text) ? pattern.lastIndex : undefined
  }
  switch (text[at]) {
    case "'":
      return rest(/'(?:[^'\\\n]|\\[\s\S])*'/y)
    case '"':
      return rest(/"(?:[^"\\\n]|\\[\s\S])*"/y)
    case '`':
      return endOfTemplate(text, at)
    case '/':
      if (text[at + 1] === '/') return rest(/\/\/[^\n]*/y)
      if (text[at + 1] === '*') return rest(/\/\*[\s\S]*?\*\//y)
      // A slash after a value divides.
      if (/[\w$)\]}]$/.test(before.trimEnd()) && !/\b(return|typeof|case)$/.test(before.trimEnd())) return undefined
      return rest(/\/(?:[^\\/[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/\w*/y)
    default:
      return undefined
  }
}

/** A template with all that is inserted into it, templates inside those too. */
function endOfTemplate(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++
    else if (text[i] === '`') return i + 1
    else if (text[i] === '$' && text[i + 1] === '{') i = endOfInsertion(text, i + 2)
  }
  return text.length
}

function endOfInsertion(text: string, at: number): number {
  let depth = 1
  for (let i = at; i < text.length; i++) {
    const end = text[i] === '/' ? undefined : endOfLiteral(text, i, '')
    if (end !== undefined) i = end - 1
    else if (text[i] === '{') depth++
    else if (text[i] === '}' && --depth === 0) return i
  }
  return text.length
}
