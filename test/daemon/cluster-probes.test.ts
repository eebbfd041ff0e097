/** Probes and hooks in manifests: what is accepted, and what is refused with its place and what is allowed. */
import { expect, test } from 'vitest'
import { parseManifests } from '../../daemon/cluster/schema.ts'

const podWith = (container: string) => `apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: main
      image: nginx
      ports: [{name: http, containerPort: 8080}, {name: admin, containerPort: 9090}]
      ${container}
`

test.each([
  'readinessProbe: {httpGet: {port: http}}',
  'readinessProbe: {tcpSocket: {port: 80, host: "::1"}, successThreshold: 3, initialDelaySeconds: 0}',
  'livenessProbe: {exec: {command: [cat, /ok]}, terminationGracePeriodSeconds: 1}',
  'startupProbe: {grpc: {port: 9090, service: a.b.C}, failureThreshold: 30, periodSeconds: 1, timeoutSeconds: 5}',
  'readinessProbe: {httpGet: {port: 80, path: /a?b=c, scheme: HTTPS, host: a.b, httpHeaders: [{name: X-A, value: "a b"}]}}',
  'lifecycle: {preStop: {sleep: {seconds: 5}}}',
  'lifecycle: {preStop: {exec: {command: [sh, -c, "nginx -s quit"]}}}',
  'lifecycle: {preStop: {httpGet: {port: admin, path: /quit}}}',
])('%s is accepted as it is', (container) => {
  const { objects, warnings } = parseManifests(podWith(container), 'pod.yaml')
  expect(warnings).toEqual([])
  const [name] = container.split(':')
  expect(objects[0]).toHaveProperty(['spec', 'containers', '0', name!])
})

test.each([
  ['readinessProbe: {periodSeconds: 5}', 'readinessProbe: must hold exactly one of httpGet, tcpSocket, exec and grpc'],
  [
    'readinessProbe: {httpGet: {port: 80}, exec: {command: [x]}}',
    'readinessProbe: must hold exactly one of httpGet, tcpSocket, exec and grpc, but holds httpGet and exec',
  ],
  [
    'readinessProbe: {httpGet: {port: web}}',
    'readinessProbe.httpGet.port: "web" must be a number, or the name of a port of this container: http, admin',
  ],
  [
    'lifecycle: {preStop: {httpGet: {port: web}}}',
    'lifecycle.preStop.httpGet.port: "web" must be a number, or the name of a port of this container: http, admin',
  ],
  ['livenessProbe: {tcpSocket: {port: 70000}}', 'livenessProbe.tcpSocket.port: 70000 must be a port from 1 to 65535'],
  ['readinessProbe: {grpc: {port: http}}', 'readinessProbe.grpc.port: "http" must be a port from 1 to 65535'],
  ['readinessProbe: {exec: {command: []}}', 'readinessProbe.exec.command: must hold the command and its arguments'],
  ['readinessProbe: {exec: {command: [x]}, periodSeconds: 0}', 'readinessProbe.periodSeconds: 0 must be at least 1'],
  [
    'livenessProbe: {exec: {command: [x]}, successThreshold: 2}',
    /livenessProbe\.successThreshold: 2 must be 1, except/,
  ],
  [
    'readinessProbe: {exec: {command: [x]}, terminationGracePeriodSeconds: 2}',
    /readinessProbe\.terminationGracePeriodSeconds: 2 must not be set: a container that is not ready is not stopped/,
  ],
  ['readinessProbe: {httpGet: {port: 80, scheme: FTP}}', 'readinessProbe.httpGet.scheme: "FTP" must be HTTP or HTTPS'],
  ['readinessProbe: {httpGet: {port: 80, path: "/a b"}}', /httpGet\.path: "\/a b" must be a path without spaces/],
  [
    'readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: "a b", value: x}]}}',
    /httpHeaders\[0\]\.name: "a b" must be the name of a header/,
  ],
  [
    'readinessProbe: {httpGet: {port: 80, httpHeaders: [{name: a, value: "x\\ny"}]}}',
    /httpHeaders\[0\]\.value: "x\\ny" must be on one line/,
  ],
  ['readinessProbe: {httpGet: {port: 80, prot: 80}}', /httpGet\.prot: is not known; did you mean port\?/],
  ['lifecycle: {preStop: {}}', 'lifecycle.preStop: must hold exactly one of httpGet, exec and sleep'],
  ['lifecycle: {preStop: {sleep: {seconds: -1}}}', 'lifecycle.preStop.sleep.seconds: -1 must be at least 0'],
])('%s is refused', (container, mistake) => {
  const parse = () => parseManifests(podWith(container), 'pod.yaml')
  const prefix = /^pod\.yaml:9:\d+ spec\.containers\[0\]\./
  expect(parse).toThrow(prefix)
  expect(parse).toThrow(mistake)
})

test('hooks that polder does not have are left out with a warning', () => {
  const text = podWith('lifecycle: {postStart: {exec: {command: [x]}}}')
  const { objects, warnings } = parseManifests(text, 'pod.yaml')
  expect(warnings).toEqual(['pod.yaml:9:19 spec.containers[0].lifecycle.postStart: is not supported and ignored'])
  expect(objects[0]).not.toHaveProperty('spec.containers.0.lifecycle')
})
