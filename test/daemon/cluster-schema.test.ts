/**
 * Manifests: what tutorials have is accepted, what polder does not act on is said, what is wrong is named with its place.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkObject, MANIFEST_BYTES_MAX, parseManifests } from '../../daemon/cluster/schema.ts'
import type { PolderError } from '../../daemon/errors.ts'

const parse = (text: string) => parseManifests(text, 'pod.yaml')

function mistakes(text: string): string[] {
  try {
    parse(text)
  } catch (error) {
    expect((error as PolderError).code).toBe('bad-manifest')
    const lines = (error as Error).message.split('\n')
    return lines.length > 1 ? lines.slice(1).map((line) => line.trim()) : lines
  }
  return []
}

/** A pod with one good container and whatever else. */
const podWith = (spec: string, container = '') => `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  ${spec}
  containers:
    - name: main
      image: nginx
      ${container}
`

describe('accepted', () => {
  test("a tutorial's pod of two containers", () => {
    const { objects, warnings } = parse(`
kind: Pod
apiVersion: v1
metadata:
  name: testpod
spec:
  containers:
    - name: c00
      image: ubuntu
      command: ["/bin/bash", "-c", "while true; do echo hello ; sleep 5; done"]
    - name: c01
      image: httpd
      ports:
       - containerPort: 80
`)
    expect(warnings).toEqual([])
    expect(objects).toEqual([
      {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'testpod', namespace: 'default' },
        spec: {
          containers: [
            { name: 'c00', image: 'ubuntu', command: ['/bin/bash', '-c', 'while true; do echo hello ; sleep 5; done'] },
            { name: 'c01', image: 'httpd', ports: [{ containerPort: 80 }] },
          ],
        },
      },
    ])
  })

  test('several documents, empty ones, lists and JSON', () => {
    const { objects } = parse(`---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: Namespace, metadata: {name: web}}
  - {apiVersion: v1, kind: Node, metadata: {name: alpha}, spec: {podCIDRs: [10.244.7.0/24, "FD00::/64"]}}
---
---
{
\t"apiVersion": "v1", "kind": "Pod",
\t"metadata": {"name": "a", "namespace": "web"}, "spec": {"containers": [], "runtimeClassName": "netns"}
}
`)
    expect(objects.map(({ kind, metadata }) => `${kind} ${metadata.namespace ?? '-'} ${metadata.name}`)).toEqual([
      'Namespace - web',
      'Node - alpha',
      'Pod web a',
    ])
    expect(objects[1]).toMatchObject({ spec: { podCIDRs: ['10.244.7.0/24', 'fd00::/64'] } })
  })

  test('anchors, merge keys and what kubectl writes for nothing', () => {
    const text = podWith('restartPolicy: Always', 'resources: {}\n      env: &e [{name: A, value: "1"}]').replace(
      '{name: web}',
      '{name: web, creationTimestamp: null}',
    )
    const { objects, warnings } = parse(`${text}status: {}\n`)
    expect(warnings).toEqual([])
    expect(objects[0]?.metadata).toEqual({ name: 'web', namespace: 'default' })
    const merged = parse(`apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - &base {name: a, image: nginx, args: ["1"]}
    - {<<: *base, name: b}
`)
    expect(merged.objects[0]).toMatchObject({ spec: { containers: [{}, { name: 'b', image: 'nginx', args: ['1'] }] } })
  })

  test('a namespace for those that name none', () => {
    const { objects } = parseManifests(podWith('hostNetwork: true'), 'pod.yaml', 'lab')
    expect(objects[0]?.metadata.namespace).toBe('lab')
  })
})

test('what Kubernetes knows and polder does not is left out with a warning', () => {
  const text = podWith(
    'volumes: [{name: data, emptyDir: {}}]',
    `volumeDevices: [{name: a, devicePath: /b}]
      ports: [{containerPort: 80, hostPort: 8080, hostIP: 192.0.2.1}]
      env: [{name: A, valueFrom: {secretKeyRef: {name: s, key: k}}}]
      securityContext: {runAsUser: 1000}`,
  )
  const { objects, warnings } = parse(`${text}status: {phase: Running}\n`)
  expect(warnings.sort()).toEqual([
    'pod.yaml:11:35 spec.containers[0].env[0].valueFrom.secretKeyRef: is not supported and ignored',
    'pod.yaml:12:25 spec.containers[0].securityContext.runAsUser: is not supported and ignored',
    'pod.yaml:13:1 status: is written by polder and ignored',
    'pod.yaml:5:3 spec.volumes: is not supported and ignored',
    'pod.yaml:9:7 spec.containers[0].volumeDevices: is not supported and ignored',
  ])
  expect(objects[0]).toMatchObject({
    spec: {
      containers: [
        {
          name: 'main',
          image: 'nginx',
          ports: [{ containerPort: 80, hostPort: 8080, hostIP: '192.0.2.1' }],
          env: [{ name: 'A' }],
        },
      ],
    },
  })
})

describe('mistakes', () => {
  test.each([
    [podWith('hostNetwrok: true'), 'pod.yaml:5:3 spec.hostNetwrok: is not known; did you mean hostNetwork?'],
    [
      podWith('', 'livenesProbe: {}'),
      'pod.yaml:9:7 spec.containers[0].livenesProbe: is not known; did you mean livenessProbe?',
    ],
    [
      podWith('restartPolicy: Sometimes'),
      'pod.yaml:5:18 spec.restartPolicy: "Sometimes" must be Always, OnFailure or Never',
    ],
    [podWith('', 'args: [sleep, 5]'), 'pod.yaml:9:21 spec.containers[0].args[1]: 5 must be text (put it in quotes)'],
    [
      podWith('', 'ports: [{containerPort: 70000}]'),
      'pod.yaml:9:31 spec.containers[0].ports[0].containerPort: 70000 must be a port from 1 to 65535',
    ],
    [podWith('').replace('image: nginx', 'image:'), 'pod.yaml:8:7 spec.containers[0].image: is missing; must be text'],
    [podWith('runtimeClassName: gvisor'), 'pod.yaml:5:21 spec.runtimeClassName: "gvisor" must be netns'],
    [podWith('').replace('name: web', 'name: Web'), /^pod\.yaml:3:18 metadata\.name: "Web" must be lower-case letters/],
    [
      podWith('').replace('name: web', 'name: web, labels: {a: 5}'),
      'pod.yaml:3:35 metadata.labels.a: 5 must be text (put it in quotes)',
    ],
    [
      podWith('').replace('name: web', 'name: web, labels: {a/b/c: x}'),
      /metadata\.labels\.a\/b\/c: "x" has a key that must be/,
    ],
    [
      'kind: pod',
      'pod.yaml:1:7 kind: "pod" must be one of Pod, Node, Namespace, Service, EndpointSlice; did you mean Pod?',
    ],
    ['kind: Deployment', 'pod.yaml:1:7 kind: "Deployment" must be one of Pod, Node, Namespace, Service, EndpointSlice'],
    ['metadata: {}', 'pod.yaml:1:1 kind: is missing; must be one of Pod, Node, Namespace, Service, EndpointSlice'],
    ['just text', 'pod.yaml:1:1: "just text" must be an object with apiVersion, kind, metadata and spec'],
    [
      '{apiVersion: v1, kind: Node, metadata: {name: a}, spec: {podCIDRs: [10.1.0.1/16]}}',
      /podCIDRs\[0\]: "10\.1\.0\.1\/16" must have no host bits: the network is 10\.1\.0\.0\/16/,
    ],
    [
      '{apiVersion: v1, kind: Namespace, metadata: {name: a.b}}',
      /metadata\.name: "a\.b" must be lower-case letters, digits and "-"/,
    ],
    [
      '{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {}}',
      /spec\.containers: is missing; must hold at least one container/,
    ],
    ['? {a: 1}\n: 2\n', /^pod\.yaml:1:3: /],
    ['a: 1\na: 2\n', 'pod.yaml:2:1: Map keys must be unique'],
  ])('%#', (text, expected) => {
    const found = mistakes(text)
    expect(found).toHaveLength(1)
    if (typeof expected === 'string') expect(found[0]).toBe(expected)
    else expect(found[0]).toMatch(expected)
  })

  test('two containers of one name', () => {
    const text = podWith('').replace('    - name', '    - {name: main, image: httpd}\n    - name')
    expect(mistakes(text)).toEqual([
      'pod.yaml:8:13 spec.containers[1].name: "main" must be unique: containers[0] has this name',
    ])
  })

  test('all at once, over all documents and list items', () => {
    const text = `${podWith('hostNetwork: 5')}---\nkind: List\nitems:\n  - kind: Pot\n  - {kind: Namespace, apiVersion: v2, metadata: {name: x}}\n`
    expect(mistakes(text).map((line) => line.split(' ')[1])).toEqual([
      'spec.hostNetwork:',
      'items[0].kind:',
      'items[1].apiVersion:',
    ])
  })

  test('too long, too deep, too many aliases', () => {
    expect(mistakes(`# ${'x'.repeat(MANIFEST_BYTES_MAX)}`)).toEqual(['pod.yaml: is longer than 1048576 bytes'])
    expect(mistakes('['.repeat(200_000)).length).toBeGreaterThan(0)
    expect(mistakes(`a: ${'['.repeat(3000)}${']'.repeat(3000)}`).length).toBeGreaterThan(0)
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]']
    for (let depth = 1; depth < 9; depth++) lines.push(`a${depth}: &a${depth} [${`*a${depth - 1}, `.repeat(10)}]`)
    expect(mistakes(lines.join('\n'))[0]).toContain('alias')
  })
})

test('whatever the text, there is an answer or a PolderError', () => {
  const yamlish = fc.array(
    fc.constantFrom(
      'kind: Pod\n',
      'metadata:',
      ' {',
      '}',
      '- ',
      'spec:\n  ',
      '&a ',
      '*a',
      'name: x\n',
      '---\n',
      '"',
      '\t',
      '? ',
      '|\n',
      '!!x ',
    ),
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        yamlish.map((parts) => parts.join('')),
      ),
      (text) => {
        try {
          parse(text)
        } catch (error) {
          expect(error).toHaveProperty('code', 'bad-manifest')
        }
      },
    ),
    { numRuns: 1000 },
  )
})

test('an object is checked without its status, and left as it was', () => {
  const { objects } = parse(podWith('nodeName: alpha'))
  const pod = { ...objects[0]!, status: { phase: 'Running' as const } }
  expect(checkObject(pod as never)).toEqual(objects[0])
  expect(pod.status).toBeDefined()
  expect(() => checkObject({ ...pod, kind: 'Pot' } as never)).toThrow('Pot web: kind: "Pot" must be one of')
})
