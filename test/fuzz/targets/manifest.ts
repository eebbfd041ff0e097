/**
 * Manifests and files of the cluster folder, as people and other nodes write them: refused with a PolderError or taken
 * whole, within the time, and never with a name that could leave its folder.
 */
import { parseManifests } from '../../../daemon/cluster/schema.ts'
import { PolderError } from '../../../daemon/errors.ts'
import type { Target } from '../target.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)

function run(input: Uint8Array): string {
  try {
    const { objects, warnings } = parseManifests(Buffer.from(input).toString('utf8'), 'a file')
    for (const object of objects) {
      const { name, namespace = '' } = object.metadata
      if (/[/\0]/.test(name) || /[/\0]/.test(namespace) || name.startsWith('.') || namespace.startsWith('.')) {
        throw new Error(`an object named ${namespace}/${name}`)
      }
      JSON.stringify(object)
    }
    return `${objects.map(({ kind }) => kind).slice(0, 3)} ${Math.min(warnings.length, 3)}`
  } catch (error) {
    if (!(error instanceof PolderError)) throw error
    return `refused ${Math.min(3, error.message.split('\n').length)}`
  }
}

const POD = `apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default, labels: {a: b}}
spec:
  containers:
  - name: main
    image: busybox
    command: [sleep, "9"]
    env: [{name: A, value: b}]
`
const NODE = `apiVersion: v1
kind: Node
metadata: {name: node2, annotations: {polder/underlay-address: 192.0.2.2}}
spec: {podCIDRs: [10.244.2.0/24, "fd00:10:244:2::/64"]}
`
const BOMB = `a: &a [x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]
e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]
`

export const manifest: Target = {
  name: 'manifest',
  watches: /\/daemon\/(cluster|config)\//,
  seeds: [
    utf8(POD),
    utf8(NODE),
    utf8(`${POD}---\n${NODE}`),
    utf8(`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}]}`),
    utf8(BOMB),
    utf8('a: &a {<<: *a}'),
  ],
  words: [
    '---\n',
    '- ',
    ': ',
    '&a ',
    '*a',
    '<<: ',
    '!!binary ',
    '!!js/function ',
    '|\n  ',
    '>-\n',
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '\n',
    '\n  ',
    '\t',
    '%YAML 1.1\n',
    '../',
    '\0',
    '0x',
    '.inf',
    '!!timestamp ',
    'null',
    '~',
    'name: ',
    'items: ',
    'kind: List',
    '__proto__: ',
    '\ufeff',
    '\ud83d\ude00',
    '? ',
  ].map(utf8),
  bytesMax: 3000,
  run,
}
